"""A mixer in one file: every frame hears the one before it through a linear layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import option
from .registry import MixerOptions, register_mixer


@dataclass
class ShiftOptions(MixerOptions):
    """Options of ``shift``."""

    steps: int = option(1, "frames back that a frame hears", low=1, high=100)


@register_mixer("shift", ShiftOptions)
class Shift(nn.Module):
    """y_t = W x_(t - steps)."""

    def __init__(self, options: ShiftOptions, embed_dim: int, dropout: float):
        super().__init__()
        self.steps = options.steps
        self.linear = nn.Linear(embed_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)
        return self.dropout(self.linear(F.pad(x, (0, 0, self.steps, 0))[:, : x.size(1)]))
