"""Labels of clips, put on the frames of an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.alignments import Alignment
from ..data.frame_times import FrameTimes
from ..system.units import SAMPLE_RATE_HZ
from .observed import NO_LABEL, Labels

Intervals = list[list[tuple[int, int, int]]]


def frames_of_tier(
    alignments: Sequence[Alignment], tier: str, num_frames: Sequence[int], times: FrameTimes
) -> tuple[Labels, Intervals]:
    """Classes of the frames of all clips, and which frames each interval has.

    A frame belongs to the interval that its centre lies in. Intervals between two centres have none and are left out.

    Args:
        alignments: of each clip, all with this tier; num_frames: of each clip.

    Returns:
        labels (N,) of the frames, clip by clip, and for each clip (class, first frame, frame after the last).
    """
    names = sorted({one.label for alignment in alignments for one in alignment.tiers[tier]})
    number = {name: i for i, name in enumerate(names)}
    labels: list[np.ndarray] = []
    intervals: Intervals = []
    for alignment, length in zip(alignments, num_frames):
        labels.append(np.full(length, NO_LABEL, np.int64))
        intervals.append([])
        these = alignment.tiers[tier]
        edges = np.reshape([(one.start, one.end) for one in these], (-1, 2)) * SAMPLE_RATE_HZ
        centres = np.arange(length) * times.shift_samples + times.window_samples / 2
        for one, (first, end) in zip(these, np.searchsorted(centres, edges).tolist()):
            if first < end:
                labels[-1][first:end] = number[one.label]
                intervals[-1].append((number[one.label], first, end))
    return Labels(np.concatenate(labels), names), intervals


def labels_of_clips(names: Sequence[str]) -> Labels:
    """Classes of clips, in their order; "" is none."""
    known = sorted(set(names) - {""})
    number = {name: i for i, name in enumerate(known)}
    return Labels(np.array([number.get(name, NO_LABEL) for name in names], np.int64), known)
