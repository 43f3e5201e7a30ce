"""Attention whose weights are products of non-negative features: linear in the number of frames (arXiv 2006.16236)."""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import at_least_float32

# Least denominator: features of a frame may all be zero.
FLOOR = 1e-6


def kernelised_attention(q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
    """y_t = sum over u of (q_t . k_u) v_u / sum over u of q_t . k_u (equations 4 and 5); time and memory O(T).

    Sums and products are float32: over a long clip they leave the range of float16.

    Args:
        q, k: (B, heads, T, features), float32 and not negative at valid frames.
        v: (B, heads, T, d).
        padding_mask: (B, T) bool, True = padding. A clip without a valid frame gives zeros.

    Returns:
        (B, heads, T, d) in the dtype of ``v``.
    """
    values = at_least_float32(v)
    if padding_mask is not None:
        padded = padding_mask[:, None, :, None]  # (B, T) -> (B, 1, T, 1)
        k, values = k.masked_fill(padded, 0.0), values.masked_fill(padded, 0.0)
    with torch.autocast(v.device.type, enabled=False):
        numerator = q @ (k.transpose(2, 3) @ values)  # (features, d) a head, then (B, heads, T, d)
        denominator = q @ k.sum(2)[..., None]  # (B, heads, T, 1)
        return (numerator / denominator.clamp(min=FLOOR)).to(v.dtype)
