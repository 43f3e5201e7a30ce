"""``phones``: which share of frames a linear map gets right, trained on the other groups of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import torch

from ...system.errors import InputError
from ..measures.similarity import CrossSums
from ..observed import NO_LABEL, Observed, jackknife
from ..ridge import linear_map, num_correct
from .registry import Row, register_measure

# Frames that lie 20 ms apart say much the same: so many of them, evenly spaced, are enough.
MOST_FRAMES = 60_000


@register_measure("phones", "share of frames whose phone a linear map tells, trained on other clips", needs=("phones",))
def phones(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """``accuracy`` at each place, by cross-validation over groups of clips.

    Raises:
        InputError: if the clips with phones are of one group.
    """
    of, names = observed.frame_labels["phones"]
    for place in places:
        parts, tests = [], []
        for frames, rows in observed.frames_by_group(place, MOST_FRAMES):
            known = of[rows] != NO_LABEL
            if not known.any():
                continue
            frames, labels = frames[known], torch.from_numpy(of[rows][known])
            parts.append(CrossSums([frames.size(1)], [len(names)]))
            parts[-1].add(frames, labels)
            tests.append((frames, labels))
        if len(tests) < 2:
            raise InputError("a map that is trained on some clips and tested on others needs two clips with phones")
        counts, whole = [], reduce(add, parts)
        for part, (frames, labels) in zip(parts, tests):
            correct = num_correct(frames, labels, *linear_map(whole - part))
            counts.append(torch.tensor([float(correct), len(labels)], dtype=torch.float64))
        yield Row(place, "accuracy", jackknife(counts, lambda count: float(count[0] / count[1])))
