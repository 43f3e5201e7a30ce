"""Units against the phones at the centres of their frames."""

from __future__ import annotations

from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pytest

from summarymixing_fairseq.analysis.unit_quality import agreement, read_phones
from summarymixing_fairseq.data.alignments import Alignment, Interval, as_json
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.data.synthesiser import Phone
from summarymixing_fairseq.system.errors import InputError

WINDOW, SHIFT = 400, 320


def test_against_loops_over_frames() -> None:
    """Phones of random lengths with pauses between; and units that depend on them."""
    drawn = np.random.default_rng(5)
    units, phones, pairs = [], [], []
    for num_frames in (30, 47):
        clip, sample = [], 0.0
        while sample < num_frames * SHIFT:
            sample += drawn.uniform(0, 900) * (drawn.random() < 0.3)
            clip.append(Phone("aeiou"[drawn.integers(5)], sample, sample := sample + drawn.uniform(200, 2000)))
        phones.append(clip)
        row = drawn.integers(4, size=num_frames)
        for t in range(num_frames):
            for phone in clip:
                if phone.start <= t * SHIFT + WINDOW / 2 < phone.end:
                    if drawn.random() < 0.5:
                        row[t] = "aeiou".index(phone.name) % 4
                    pairs.append((int(row[t]), phone.name))
        units.append(row)
    quality, num_spoken, num_phones = agreement(units, 6, phones, WINDOW, SHIFT)
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


def test_labels_are_found_and_brought_to_samples(tmp_path: Path) -> None:
    clip = Clip(tmp_path / "a.wav", "a.wav", 16_000)
    (tmp_path / "a.json").write_text(as_json(Alignment({"phones": (Interval("a", 0.1, 0.5),)}, 1.0)))
    assert read_phones(tmp_path, [clip]) == [(Phone("a", 1600, 8000),)]
    (tmp_path / "a.json").write_text(as_json(Alignment({"words": (Interval("a", 0.1, 0.5),)}, 1.0)))
    with pytest.raises(InputError, match=r"labels of a\.wav in .* have no tier 'phones'"):
        read_phones(tmp_path, [clip])
    (tmp_path / "a.json").write_text(as_json(Alignment({"phones": (Interval("a", 0.1, 0.5),)}, 0.8)))
    with pytest.raises(InputError, match=r"labels of a\.wav .* more than 0\.1 s apart"):
        read_phones(tmp_path, [clip])


def test_pauses_alone_are_refused() -> None:
    with pytest.raises(InputError, match="no frame lies in a phone"):
        agreement([np.array([0, 1])], 2, [[]], WINDOW, SHIFT)
    with pytest.raises(InputError, match="no frame lies in a phone"):
        agreement([np.array([0, 1])], 2, [[Phone("a", 900, 1000)]], WINDOW, SHIFT)
