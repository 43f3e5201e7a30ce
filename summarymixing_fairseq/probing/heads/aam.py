"""Additive angular margin: logits of a softmax that holds the target's class off by an angle."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def aam_logits(cosines: Tensor, targets: Tensor, margin: float = 0.2, scale: float = 30.0) -> Tensor:
    """ArcFace (Deng et al. 2019, arXiv 1801.07698, equation 3): scale * cos(theta + margin) for the target's class.

    cos(theta + m) = cos(theta) cos(m) - sin(theta) sin(m), without arccos, whose slope is infinite at both ends; under
    the root of the sine 1 - cos(theta)^2 is at least one rounding step, without a gradient below that. Where
    theta + m > pi, cos(theta + m) would rise again with theta: there the logit is scale * (cos(theta) - m sin(m)), as
    in the authors' code, which falls with theta, so that the gradient still pulls the right way.

    Args:
        cosines: (B, C); targets: (B,) int64, 0 to C - 1.
        margin: radians, 0 to pi / 2; scale: factor of all logits.

    Returns:
        (B, C), float32 (float64 for float64 cosines), for ``cross_entropy``.

    Raises:
        ValueError: for a margin or scale out of range, or shapes that do not fit.
    """
    if not 0.0 <= margin <= math.pi / 2:
        raise ValueError(f"margin={margin}: must be an angle in radians from 0 to pi / 2")
    if not scale > 0.0:
        raise ValueError(f"scale={scale}: must be positive")
    if cosines.dim() != 2 or targets.shape != cosines.shape[:1]:
        raise ValueError(f"cosines {tuple(cosines.shape)} and targets {tuple(targets.shape)}: must be (B, C) and (B,)")
    cosines = cosines.to(torch.promote_types(cosines.dtype, torch.float32))
    target = cosines.gather(1, targets[:, None])  # (B, 1)
    sine = (1.0 - target.square()).clamp(min=torch.finfo(cosines.dtype).eps).sqrt()
    with_margin = target * math.cos(margin) - sine * math.sin(margin)
    beyond_pi = target < -math.cos(margin)  # theta > pi - m
    with_margin = torch.where(beyond_pi, target - margin * math.sin(margin), with_margin)
    return scale * cosines.scatter(1, targets[:, None], with_margin)
