"""Output layers of clip-level heads: an embedding in, a score a class out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pooling import at_least_float32


class LinearClassifier(nn.Linear):
    """Logits: one linear layer.

    Args:
        input_dim: E; num_classes: C.
    """

    def __init__(self, input_dim: int, num_classes: int):
        super().__init__(input_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, E) -> (B, C)."""
        return super().forward(x)


class CosineClassifier(nn.Module):
    """Cosine of the embedding and each class's weight vector, for an angular margin (Deng et al. 2019, section 2.1).

    In float32 at least, under autocast too: float16 rounds a cosine near 1 by 5e-4, an angle of 2 degrees.

    Args:
        input_dim: E; num_classes: C.
    """

    def __init__(self, input_dim: int, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, input_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, E) -> (B, C), each -1 to 1 but for rounding."""
        with torch.autocast(x.device.type, enabled=False):
            x, weight = at_least_float32(x), self.weight.to(torch.promote_types(x.dtype, torch.float32))
            return F.linear(F.normalize(x, dim=-1), F.normalize(weight, dim=-1))


def build_classifier(input_dim: int, num_classes: int, cosine: bool) -> nn.Module:
    """``CosineClassifier`` if ``cosine``, else ``LinearClassifier``."""
    return (CosineClassifier if cosine else LinearClassifier)(input_dim, num_classes)
