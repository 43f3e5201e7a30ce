"""Linear attention: softmax's exponential replaced by a product of features, elu + 1 (arXiv 2006.16236)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernelised import kernelised_attention
from ..precision import at_least_float32
from .heads import HeadOptions, ProjectedHeads
from .registry import register_mixer


def _feature(x: Tensor) -> Tensor:
    """elu(x) + 1; written as exp(x) below zero, where a sum with 1 would round small features to nothing."""
    x = at_least_float32(x)
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


@register_mixer("linear_attention", HeadOptions)
class LinearAttention(ProjectedHeads):
    """y_t = phi(q_t)' S / phi(q_t)' z, S = sum of phi(k_u) v_u', z = sum of phi(k_u), phi = elu + 1 (equations 5, 7).

    Cost in T frames: time O(T D^2 / heads), memory O(T D) and D^2 / heads for S. Dropout is on the heads' output, as
    there are no attention weights to drop.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        return self.dropout(kernelised_attention(_feature(q), _feature(k), v, padding_mask))
