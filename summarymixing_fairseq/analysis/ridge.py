"""Ridge regression from frames to one-hot labels, in closed form: a linear map that tells classes apart.

Its accuracy on other frames says how much of the labels can be read off frozen frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .measures.similarity import CrossSums

# Of the penalty: share of the mean variance of a channel, for each frame. Relative, so that frames of any scale are
# penalised alike.
PENALTY = 1e-3


def linear_map(sums: CrossSums, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
    """Weights (D, K) and biases (K,), float64, that minimise the sum of |y - x W - b|^2 + lambda |W|^2, y one-hot.

    lambda is ``penalty`` times the trace of the frames' scatter matrix (around their mean) over D. The biases are not
    penalised. Not finite where the frames are not, or all zero.

    Args:
        sums: over frames x (D) and their classes, 0 to K - 1: ``CrossSums([D], [K])``.
    """
    mean, rates = sums.total(0) / sums.num_frames, sums.total(1) / sums.num_frames
    scatter, cross = sums.scatter(0, 0), sums.scatter(0, 1)
    # frames that are all alike leave rounding alone around their mean: the second term keeps the map at zero then
    scaled = penalty * scatter.trace() + torch.finfo(scatter.dtype).eps * sums.gram(0).trace()
    scatter.diagonal().add_(scaled / len(scatter))
    weights, _ = torch.linalg.solve_ex(scatter, cross)
    return weights, rates - mean @ weights


def num_correct(frames: Tensor, labels: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """How many of the frames (n, D) have their own class's score highest: scalar int64."""
    return ((frames.double() @ weights + biases).argmax(1) == labels).sum()
