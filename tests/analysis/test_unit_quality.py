"""Units against the phones at the centres of their frames."""

from __future__ import annotations

from collections import Counter
from math import log

import numpy as np
import pytest

from summarymixing_fairseq.analysis.unit_quality import agreement
from summarymixing_fairseq.data.alignments import Alignment, Interval
from summarymixing_fairseq.data.frame_times import FrameTimes
from summarymixing_fairseq.system.errors import InputError

WINDOW, SHIFT, RATE_HZ = 400, 320, 16_000
TIMES = FrameTimes(SHIFT, WINDOW)


def test_against_loops_over_frames() -> None:
    """Phones of random lengths with pauses between; and units that depend on them."""
    drawn = np.random.default_rng(5)
    units, phones, pairs = [], [], []
    for num_frames in (30, 47):
        clip, sample = [], 0.0
        while sample < num_frames * SHIFT:
            sample += drawn.uniform(0, 900) * (drawn.random() < 0.3)
            start, sample = sample, sample + drawn.uniform(200, 2000)
            clip.append(Interval("aeiou"[drawn.integers(5)], start / RATE_HZ, sample / RATE_HZ))
        phones.append(Alignment({"phones": tuple(clip)}, sample / RATE_HZ))
        row = drawn.integers(4, size=num_frames)
        for t in range(num_frames):
            for phone in clip:
                if phone.start * RATE_HZ <= t * SHIFT + WINDOW / 2 < phone.end * RATE_HZ:
                    if drawn.random() < 0.5:
                        row[t] = "aeiou".index(phone.label) % 4
                    pairs.append((int(row[t]), phone.label))
        units.append(row)
    quality, num_spoken, num_phones = agreement(units, 6, phones, TIMES)
    assert num_spoken == len(pairs) < 77 and num_phones == 5
    together, of_units, of_phones = Counter(pairs), Counter(u for u, _ in pairs), Counter(p for _, p in pairs)
    best = sum(max(together[u, p] for p in of_phones) for u in of_units)
    entropy = -sum(n / len(pairs) * log(n / len(pairs)) for n in of_phones.values())
    information = sum(
        n / len(pairs) * log(n * len(pairs) / (of_units[u] * of_phones[p])) for (u, p), n in together.items()
    )
    assert abs(quality.class_purity - best / len(pairs)) < 1e-9
    assert abs(quality.pnmi - information / entropy) < 1e-9
    assert quality.used_clusters == len(of_units) / 6


def test_pauses_alone_are_refused() -> None:
    for these in ((), (Interval("a", 900 / RATE_HZ, 1000 / RATE_HZ),)):
        with pytest.raises(InputError, match="no frame lies in a phone"):
            agreement([np.array([0, 1])], 2, [Alignment({"phones": these}, 0.1)], TIMES)
