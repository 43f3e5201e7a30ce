"""Ridge regression from frames to one-hot labels, in closed form: a linear map that tells classes apart.

Its accuracy on other frames says how much of the labels can be read off frozen frames. Frames go in batch by batch, and
what is kept of them has the size of a D x D matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

# Of the penalty: share of the mean variance of a channel, for each frame. Relative, so that frames of any scale are
# penalised alike.
PENALTY = 1e-3


class Ridge:
    """Sums over frames x (D) and their classes, from which the regression is solved.

    Args:
        dim: D; num_classes: K; device: of the sums, which are float64.

    Attributes:
        num_frames: N that were added.
    """

    def __init__(self, dim: int, num_classes: int, device: torch.device | str = "cpu"):
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.num_frames = 0
        self._gram = zeros(dim, dim)  # sum of x x^T
        self._sums = zeros(num_classes, dim)  # sum of x, for each class
        self._counts = zeros(num_classes)

    def add(self, frames: Tensor, labels: Tensor) -> None:
        """Add frames (n, D) and their classes (n,) int64, 0 to K - 1."""
        frames = frames.double()
        self.num_frames += len(frames)
        self._gram += frames.T @ frames
        self._sums.index_add_(0, labels, frames)
        self._counts += torch.bincount(labels, minlength=len(self._counts))

    @classmethod
    def sum_of(cls, ridges: Sequence[Ridge]) -> Ridge:
        """Of several sets of frames, of the same width and classes."""
        total = cls(len(ridges[0]._gram), len(ridges[0]._counts), ridges[0]._gram.device)
        for ridge in ridges:
            total.num_frames += ridge.num_frames
            total._gram += ridge._gram
            total._sums += ridge._sums
            total._counts += ridge._counts
        return total

    def solve(self, penalty: float = PENALTY) -> tuple[Tensor, Tensor]:
        """Weights (D, K) and biases (K,), float64, that minimise the sum of |y - x W - b|^2 + lambda |W|^2, y one-hot.

        lambda is ``penalty`` times the trace of the frames' scatter matrix (around their mean) over D. The biases are
        not penalised. Not finite where the frames are not, or all zero.
        """
        mean, rates = self._sums.sum(0) / self.num_frames, self._counts / self.num_frames
        scatter = self._gram - self.num_frames * torch.outer(mean, mean)
        cross = (self._sums - torch.outer(self._counts, mean)).T  # (D, K)
        # frames that are all alike leave rounding alone around their mean: the second term keeps the map at zero then
        scaled = penalty * scatter.trace() + torch.finfo(scatter.dtype).eps * self._gram.trace()
        scatter.diagonal().add_(scaled / len(scatter))
        weights, _ = torch.linalg.solve_ex(scatter, cross)
        return weights, rates - mean @ weights


def num_correct(frames: Tensor, labels: Tensor, weights: Tensor, biases: Tensor) -> Tensor:
    """How many of the frames (n, D) have their own class's score highest: scalar int64."""
    return ((frames.double() @ weights + biases).argmax(1) == labels).sum()
