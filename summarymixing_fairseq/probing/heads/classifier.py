"""Output layers of clip-level heads: logits, or cosines for a softmax with an additive angular margin (AAM)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pooling import at_least_float32


class CosineClassifier(nn.Module):
    """Cosine of the embedding and each class's weight vector (Deng et al. 2019, section 2.1).

    It computes in float32 at least, under autocast too: float16 rounds a cosine near 1 by 5e-4, an angle of 2 degrees.

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
            x, weight = at_least_float32(x), at_least_float32(self.weight)
            return F.linear(F.normalize(x, dim=-1), F.normalize(weight, dim=-1))


def build_classifier(input_dim: int, num_classes: int, cosine: bool) -> nn.Module:
    """``CosineClassifier`` if ``cosine``, otherwise one linear layer."""
    return (CosineClassifier if cosine else nn.Linear)(input_dim, num_classes)


def aam_logits(cosines: Tensor, targets: Tensor, margin: float, scale: float) -> Tensor:
    """ArcFace (Deng et al. 2019, arXiv 1801.07698, equation 3): scale * cos(theta + margin) for the target's class.

    It is computed as cos(theta) cos(m) - sin(theta) sin(m): the slope of arccos is infinite at both ends. For the same
    reason 1 - cos(theta)^2 is at least one rounding step under the root of the sine, with no gradient below that.
    If theta + m > pi, cos(theta + m) would rise with theta. There the logit is scale * (cos(theta) - m sin(m)) instead,
    which falls with theta, so that the gradient keeps its sign. The authors' code does the same.

    Args:
        cosines: (B, C); targets: (B,) int64, 0 to C - 1.
        margin: m in radians, 0 to pi / 2; scale: factor of all logits, positive.

    Returns:
        (B, C), float32 (float64 for float64 cosines).
    """
    cosines = at_least_float32(cosines)
    target = cosines.gather(1, targets[:, None])  # (B, 1)
    sine = (1.0 - target.square()).clamp(min=torch.finfo(cosines.dtype).eps).sqrt()
    with_margin = target * math.cos(margin) - sine * math.sin(margin)
    beyond_pi = target < -math.cos(margin)  # theta > pi - m
    with_margin = torch.where(beyond_pi, target - margin * math.sin(margin), with_margin)
    return scale * cosines.scatter(1, targets[:, None], with_margin)
