"""How states move through a clip: curvature of their path, and the entropy of their directions (arXiv 2502.02013)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def curvature(frames: Tensor) -> float:
    """Mean angle between successive steps of a clip's states (Hénaff et al. 2019; arXiv 2502.02013, section 3).

    Args:
        frames: (T, D) of one clip.

    Returns:
        Radians: 0 on a straight line, pi / 2 where steps have nothing to do with each other, 2 pi / 3 for independent
        frames. Steps of length zero have no angle and are left out. nan if no angle is left (T < 3), or a number is not
        finite.
    """
    steps = frames.double().diff(dim=0)
    lengths = steps.norm(dim=1)
    cosines = (steps[:-1] * steps[1:]).sum(1) / (lengths[:-1] * lengths[1:])
    moving = (lengths[:-1] != 0) & (lengths[1:] != 0)
    return float(cosines[moving].clamp(-1.0, 1.0).acos().mean())


def matrix_entropy(frames: Tensor) -> float:
    """Matrix-based entropy of a clip's frames Z (arXiv 2502.02013, section 3, alpha -> 1), over its largest value.

    The entropy of the eigenvalues of Z Z^T divided by their sum, over log min(T, D). Frames are not centred.

    Args:
        frames: (T, D) of one clip.

    Returns:
        0 (all frames point one way) to 1 (all directions have the same strength); nan if min(T, D) < 2, a number is
        not finite, or all frames are zero.
    """
    num_frames, width = frames.shape
    frames = frames.double()
    smaller = min(num_frames, width)
    # Z Z^T and Z^T Z have the same eigenvalues apart from zeros
    gram = frames @ frames.T if num_frames <= width else frames.T @ frames
    if smaller < 2 or not bool(torch.isfinite(gram).all()):
        return float("nan")
    shares = torch.linalg.eigvalsh(gram).clamp(min=0.0) / gram.trace()
    return float(torch.special.entr(shares).sum()) / math.log(smaller)
