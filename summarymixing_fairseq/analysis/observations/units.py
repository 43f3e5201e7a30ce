"""``units``: how well k-means units of a place agree with phones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch

from ..kmeans import fit_centroids
from ..measures.clusters import cluster_quality, count_together
from ..observed import NO_LABEL, Observed, jackknife
from .registry import Row, register_measure

NUM_CLUSTERS = 100
MOST_FRAMES = 20_000


@register_measure("units", f"purity and PNMI of {NUM_CLUSTERS} k-means units with phones", needs=("phones",))
def units(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """Phone purity, cluster purity and PNMI at each place."""
    of, names = observed.frame_labels["phones"]
    for place in places:
        groups = observed.frames_by_group(place, MOST_FRAMES)
        frames = torch.cat([frames for frames, _ in groups])
        centroids = torch.from_numpy(fit_centroids(frames.numpy(), min(NUM_CLUSTERS, len(frames)), observed.seed, 1))
        counts = []
        for frames, rows in groups:
            known = of[rows] != NO_LABEL
            unit = torch.cdist(frames[known], centroids).argmin(1)
            counts.append(count_together(unit, torch.from_numpy(of[rows][known]), len(centroids), len(names)))
        for number, position in (("phone purity", 0), ("cluster purity", 1), ("PNMI", 2)):
            yield Row(place, number, jackknife(counts, partial(_quality, position)))


def _quality(position: int, counts: torch.Tensor) -> float:
    return cluster_quality(counts)[position]
