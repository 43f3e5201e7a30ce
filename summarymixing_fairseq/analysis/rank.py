"""Effective rank: how many directions the frames of a model spread over.

RankMe (arXiv 2210.02885, equation 1, after Roy and Vetterli 2007): the exponential of the entropy of the singular
values' distribution. 1 where all frames point one way; the width where all directions have the same strength. Frames
are not centred: those that have collapsed to one vector and its noise count as one direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .states import evaluating, states_in_batches


def effective_rank(gram: Tensor) -> float:
    """Effective rank of a matrix X (N, D) of N frames.

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


def rank_by_layer(model: Any, waves: Sequence[np.ndarray], normalize: bool = False) -> dict[str, float]:
    """Effective rank of the frames of clips at the latents, the encoder's input and each layer.

    Args:
        model, normalize: see ``states_in_batches``.
        waves: (num_samples,) float32 at 16 kHz each.

    Returns:
        by ``latents``, ``input``, ``1``, ``2``, ...; see ``effective_rank``.
    """
    grams: dict[str, Tensor] = {}
    with evaluating(model):
        for _, states in states_in_batches(model, waves, normalize):
            for name, state in states.items():
                frames = state.double()
                gram = frames.T @ frames
                grams[name] = grams[name] + gram if name in grams else gram
    return {name: effective_rank(gram) for name, gram in grams.items()}
