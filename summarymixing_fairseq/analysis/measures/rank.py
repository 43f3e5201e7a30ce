"""How many directions frames spread over: effective rank (of frames as they are) and participation ratio (centred)."""

from __future__ import annotations

import torch
from torch import Tensor


def effective_rank(gram: Tensor) -> float:
    """Effective rank of a matrix X (N, D) of N frames.

    RankMe (arXiv 2210.02885, equation 1, after Roy and Vetterli 2007): the exponential of the entropy of the singular
    values' distribution. 1 where all frames point one way; the width where all directions have the same strength.
    Frames are not centred: those that have collapsed to one vector and its noise count as one direction.

    Args:
        gram: (D, D) float64, X^T X, which batches can add up.

    Returns:
        From 1 to the smaller of N and D; nan if a number is not finite, or all frames are zero.
    """
    if not bool(torch.isfinite(gram).all()):
        return float("nan")
    squares = torch.linalg.eigvalsh(gram)  # (D,) squares of the singular values, ascending
    # what rounding leaves of a zero is not a direction; its root would be 1e-8 of the largest
    squares = squares.where(squares > squares[-1] * len(squares) * torch.finfo(squares.dtype).eps, 0.0)
    singular = squares.sqrt()
    shares = singular / singular.sum()
    return float(torch.special.entr(shares).sum().exp())


def participation_ratio(scatter: Tensor) -> float:
    """(Sum of the eigenvalues)^2 / sum of their squares, of the frames' covariance (Gao et al. 2017, bioRxiv 214262).

    Args:
        scatter: (D, D) float64, the sum of (x - mean) (x - mean)^T, or any multiple of it: ``CrossSums.scatter``.

    Returns:
        From 1 (frames vary along one line) to D (alike in all directions); nan if a number is not finite, or frames do
        not vary.
    """
    # the sum of the squared eigenvalues of a symmetric matrix is that of its squared entries
    return float(scatter.trace() ** 2 / scatter.square().sum())
