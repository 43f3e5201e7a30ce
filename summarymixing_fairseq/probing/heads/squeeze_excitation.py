"""Squeeze-and-excitation over time (Hu et al. 2018); the squeeze is a mean over valid frames."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .pooling import masked_mean


class SqueezeExcitation(nn.Module):
    """Each channel is multiplied by its entry of sigmoid(W_2 f(W_1 mean + b_1) + b_2), the mean over valid frames.

    Args:
        dim: D; bottleneck_dim: rows of W_1; activation: f.
    """

    def __init__(self, dim: int, bottleneck_dim: int, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.squeeze = nn.Linear(dim, bottleneck_dim)
        self.excite = nn.Linear(bottleneck_dim, dim)
        self.activation = activation

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> (B, T, D)."""
        gate = torch.sigmoid(self.excite(self.activation(self.squeeze(masked_mean(x, padding_mask)))))
        return x * gate[:, None]  # (B, T, D) * (B, 1, D)
