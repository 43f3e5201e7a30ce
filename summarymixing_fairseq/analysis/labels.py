"""Labels of clips, put on the frames of an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.alignments import Alignment
from ..system.units import SAMPLE_RATE_HZ
from .kept_states import Index
from .observed import NO_LABEL, Labels
from .phones import frame_spans

Intervals = list[list[tuple[int, int, int]]]


def frames_of_tier(alignments: Sequence[Alignment], tier: str, index: Index) -> tuple[Labels, Intervals]:
    """Classes of the frames of all clips, and which frames each interval has.

    A frame belongs to the interval that its centre lies in. Intervals between two centres have none and are left out.

    Args:
        alignments: of the clips in the order of the manifest; tier: that all of them have.

    Returns:
        labels (N,) in the order of the frames, and for each clip of ``index.order`` (class, first frame, frame after
        the last).
    """
    names = sorted({one.label for alignment in alignments for one in alignment.tiers[tier]})
    number = {name: i for i, name in enumerate(names)}
    labels: list[np.ndarray] = []
    intervals: Intervals = []
    for position, num_frames in zip(index.order, index.num_frames):
        labels.append(np.full(num_frames, NO_LABEL, np.int64))
        intervals.append([])
        these = alignments[position].tiers[tier]
        edges = [(one.start * SAMPLE_RATE_HZ, one.end * SAMPLE_RATE_HZ) for one in these]
        spans = frame_spans(edges, num_frames, index.window_samples, index.shift_samples)
        for one, (first, end) in zip(these, spans):
            if first < end:
                labels[-1][first:end] = number[one.label]
                intervals[-1].append((number[one.label], first, end))
    return Labels(np.concatenate(labels), names), intervals


def labels_of_clips(names: Sequence[str], index: Index) -> Labels:
    """Classes of clips, in the order of ``index.order``; "" is none.

    Args:
        names: in the order of the manifest.
    """
    known = sorted(set(names) - {""})
    number = {name: i for i, name in enumerate(known)}
    return Labels(np.array([number.get(names[position], NO_LABEL) for position in index.order], np.int64), known)
