"""``information``: bits about phones and speakers that a linear probe reads off frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ...system.errors import InputError
from ..measures.information import probe_information
from ..observed import NO_LABEL, NUM_GROUPS, Estimate, Labels, Observed, jackknife
from .registry import Row, register_measure

MOST_FRAMES = 10_000

logger = logging.getLogger(__name__)


@register_measure(
    "information", "bits a frame about phones and speakers, lower bound by a linear probe", by_default=False
)
def information(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """``bits`` and ``share`` of the labels' entropy at each place, for phones and speakers where there are any."""
    labels = {kind: observed.frame_labels[kind] for kind in ("phones",) if kind in observed.frame_labels}
    if "speakers" in observed.clip_labels:
        of, names = observed.clip_labels["speakers"]
        labels["speakers"] = Labels(np.repeat(of, observed.states.num_frames), names)
    clips = observed.states.clip_of_frame
    refused: dict[str, InputError] = {}
    for place in places:
        for kind, (of, _) in labels.items():
            known = np.flatnonzero(of != NO_LABEL)
            rows = known[:: max(1, len(known) // MOST_FRAMES)]
            try:
                frames = observed.states.frames(place, rows).numpy()
                found = probe_information(frames, of[rows], clips[rows], observed.seed)
            except InputError as error:  # too few clips or classes of this kind, at any place
                if kind not in refused:
                    logger.warning("information about %s: %s", kind, error)
                refused[kind] = error
                if len(refused) == len(labels):
                    raise
                yield from (Row(place, number, Estimate(float("nan")), kind) for number in ("bits", "share"))
                continue
            groups = np.arange(len(found.by_clip)) % NUM_GROUPS
            parts = [torch.from_numpy(found.by_clip[groups == group].sum(0)) for group in np.unique(groups)]
            bits = jackknife(parts, lambda sums: float(sums[0] / sums[1])) if parts else Estimate(found.bits)
            yield Row(place, "bits", bits, kind)
            yield Row(place, "share", Estimate(*(number / found.entropy_bits for number in bits)), kind)
