"""Exponentially decayed mean over time, in both directions (arXiv 2409.07165, section 2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .state_space import state_space_scan


def _decayed_sum(x: Tensor, decay: float) -> Tensor:
    """y_t = sum over u <= t of decay^(t - u) x_u, a state space with one decay. (B, T, D) -> (B, T, D)."""
    ones = x.new_ones(*x.shape[:2], 1)
    return state_space_scan(x[:, :, None], ones * math.log(decay), ones, ones)[:, :, 0]


def decayed_mean(x: Tensor, padding_mask: Tensor | None, decay: float) -> Tensor:
    """Mean of the valid frames, frame u weighing decay^|t - u| at frame t: a forward and a backward scan.

    Args:
        x: (B, T, D); padding_mask: (B, T) bool, True = padding, or None; decay: in (0, 1).

    Returns:
        (B, T, D) in the dtype of ``x``, accumulated in float32.
    """
    valid = x.new_ones(*x.shape[:2], 1) if padding_mask is None else (~padding_mask)[..., None].to(x.dtype)
    if padding_mask is not None:
        x = x.masked_fill(padding_mask[..., None], 0.0)
    with torch.autocast(x.device.type, enabled=False):
        # (B, T, D + 1): the last channel sums the weights
        values = torch.cat([x, valid], -1).to(torch.promote_types(x.dtype, torch.float32))
        forward = _decayed_sum(values, decay)
        backward = _decayed_sum(values.flip(1), decay).flip(1)
        total = forward + backward - values  # frame t itself is in both scans
        weight = total[..., -1:].detach()  # of no gradient: the division then stores no numerator
        return (total[..., :-1] / weight.clamp(min=torch.finfo(total.dtype).tiny)).to(x.dtype)
