"""Frames that stay in half precision under autocast, alike on every device.

CUDA's autocast computes LayerNorm in float32, a CPU's in the dtype of the frames. Left to it, frames would go up to
float32 at each norm of a GPU, and down again for the next matrix product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of autocast's matrix products on the device of ``x``; None where autocast is off."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class LayerNorm(nn.LayerNorm):
    """LayerNorm in the dtype of its input, under autocast too. Mean and variance are float32 in any case."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D) in the dtype of ``x``."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
