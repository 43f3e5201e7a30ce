"""How well the units of clips agree with their phones. A frame has the phone at its centre; pauses are left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.alignments import Alignment, read_alignments
from ..data.manifest import Clip
from ..data.synthesiser import Phone
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .measures.clusters import ClusterQuality, cluster_quality, count_together
from .phones import NO_PHONE, frame_labels

TIER = "phones"


def read_phones(labels: Path, clips: Sequence[Clip]) -> list[tuple[Phone, ...]]:
    """Phones of each clip of a manifest, in samples.

    Args:
        labels: a folder or a .ctm file, as ``read_alignments`` takes it.

    Raises:
        InputError: as ``read_alignments``, and for a clip with words only.
    """
    return [_phones(alignment, clip, labels) for clip, alignment in zip(clips, read_alignments(labels, clips))]


def _phones(alignment: Alignment, clip: Clip, labels: Path) -> tuple[Phone, ...]:
    if TIER not in alignment.tiers:
        raise InputError(f"labels of {clip.output_name} in {labels} have no tier {TIER!r}: align phones too")
    return tuple(
        Phone(one.label, one.start * SAMPLE_RATE_HZ, one.end * SAMPLE_RATE_HZ) for one in alignment.tiers[TIER]
    )


def agreement(
    units: Sequence[np.ndarray],
    num_units: int,
    phones: Sequence[Sequence[Phone]],
    window_samples: int,
    shift_samples: int,
) -> tuple[ClusterQuality, int, int]:
    """Purities and PNMI of all clips together, the frames with a phone, and how many different phones there are.

    Args:
        units: (T,) of each clip; phones: of each clip.
        window_samples: that a frame hears; shift_samples: from one frame to the next.

    Raises:
        InputError: if no frame has a phone.
    """
    classes = {name: k for k, name in enumerate(sorted({phone.name for clip in phones for phone in clip}))}
    counts = torch.zeros(num_units, len(classes), dtype=torch.int64)
    for row, clip in zip(units, phones):
        labels = frame_labels(clip, len(row), window_samples, shift_samples, classes)
        spoken = labels != NO_PHONE
        clusters, named = (torch.from_numpy(numbers[spoken].astype(np.int64)) for numbers in (row, labels))
        counts += count_together(clusters, named, num_units, len(classes))
    if not counts.sum():
        raise InputError("no frame lies in a phone: are these the labels of these clips?")
    return cluster_quality(counts), int(counts.sum()), int((counts.sum(0) > 0).sum())
