"""How well the units of clips agree with their phones. A frame has the phone at its centre; pauses are left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..data.alignments import Alignment
from ..data.frame_times import FrameTimes
from ..system.errors import InputError
from .labels import frames_of_tier
from .measures.clusters import ClusterQuality, cluster_quality, count_together
from .observed import NO_LABEL


def agreement(
    units: Sequence[np.ndarray], num_units: int, alignments: Sequence[Alignment], times: FrameTimes
) -> tuple[ClusterQuality, int, int]:
    """Purities and PNMI of all clips together, the frames with a phone, and how many different phones there are.

    Args:
        units: (T,) of each clip; alignments: of each clip, with phones.

    Raises:
        InputError: if no frame has a phone.
    """
    (labels, names), _ = frames_of_tier(alignments, "phones", list(map(len, units)), times)
    spoken = labels != NO_LABEL
    if not spoken.any():
        raise InputError("no frame lies in a phone: are these the labels of these clips?")
    clusters = torch.from_numpy(np.concatenate(units)[spoken].astype(np.int64))
    counts = count_together(clusters, torch.from_numpy(labels[spoken]), num_units, len(names))
    return cluster_quality(counts), int(counts.sum()), int((counts.sum(0) > 0).sum())
