"""How well clusters (k-means units) agree with classes (phones), from how often they occur together.

HuBERT (arXiv 2106.07447, section 4.3): phone purity, cluster purity, phone-normalised mutual information.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class ClusterQuality(NamedTuple):
    """All from 0 to 1.

    Attributes:
        class_purity: share of frames right if each cluster stood for its most frequent class ("phone purity"). More
            clusters raise it.
        cluster_purity: share of frames that lie in the most frequent cluster of their class. More clusters lower it.
        pnmi: share of the classes' entropy that the clusters take away; nan where there is one class alone.
        used_clusters: share of the clusters that have a frame.
    """

    class_purity: float
    cluster_purity: float
    pnmi: float
    used_clusters: float


def count_together(clusters: Tensor, classes: Tensor, num_clusters: int, num_classes: int) -> Tensor:
    """How many frames have each cluster and class: (clusters, classes) int64, which batches can add up.

    Args:
        clusters, classes: (n,) int64, from 0.
    """
    together = torch.bincount(clusters * num_classes + classes, minlength=num_clusters * num_classes)
    return together.view(num_clusters, num_classes)


def cluster_quality(counts: Tensor) -> ClusterQuality:
    """Purities and PNMI of a (clusters, classes) matrix of counts; all nan if it counts nothing."""
    shares = counts.double() / counts.sum()
    of_clusters, of_classes = shares.sum(1), shares.sum(0)
    entropy = torch.special.entr(of_classes).sum()
    information = entropy + torch.special.entr(of_clusters).sum() - torch.special.entr(shares).sum()
    return ClusterQuality(
        class_purity=float(shares.amax(1).sum()),
        cluster_purity=float(shares.amax(0).sum()),
        pnmi=float(information / entropy),
        used_clusters=float((of_clusters > 0).double().mean()) if bool(counts.sum()) else float("nan"),
    )
