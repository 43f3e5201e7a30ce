"""``similarity``: how alike a place is to the log-mel energies, phones, words and speakers of its frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import numpy as np
import torch

from ..kept_states import MEL
from ..measures.similarity import CrossSums, linear_cka, pwcca
from ..observed import Estimate, Labels, Observed, jackknife
from .registry import Row, register_measure

# Frames that lie 20 ms apart say much the same: so many of them, evenly spaced, are enough.
MOST_FRAMES = 30_000


@register_measure("similarity", "CKA and PWCCA of frames with log-mel energies, phones, words, speakers")
def similarity(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """CKA and PWCCA of each place with ``mel`` and with each kind of label, of the frames that have one."""
    labels = dict(observed.frame_labels)
    for kind, of_clips in observed.clip_labels.items():
        labels[kind] = Labels(np.repeat(of_clips.of, observed.states.num_frames), of_clips.names)
    mels = [frames for frames, _ in observed.frames_by_group(MEL, MOST_FRAMES)]
    for place in places:
        groups = observed.frames_by_group(place, MOST_FRAMES)
        if place != MEL:
            parts = []
            for (frames, _), energies in zip(groups, mels):
                parts.append(CrossSums([frames.size(1), energies.size(1)]))
                parts[-1].add(frames, energies)
            yield from _rows(place, parts, MEL)
        for kind, (of, names) in labels.items():
            parts = []
            for frames, rows in groups:
                known = of[rows] >= 0
                parts.append(CrossSums([frames.size(1)], [len(names)]))
                parts[-1].add(frames[known], torch.from_numpy(of[rows][known]))
            yield from _rows(place, parts, kind)


def _rows(place: str, parts: Sequence[CrossSums], other: str) -> Iterator[Row]:
    yield Row(place, "CKA", jackknife(parts, linear_cka), other)
    # y explained by x: the labels' own directions weigh, or those of the energies. It has no interval, which would take
    # as long as all other measures together.
    yield Row(place, "PWCCA", Estimate(pwcca(reduce(add, parts), 1, 0)), other)
