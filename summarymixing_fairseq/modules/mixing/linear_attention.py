"""Linear attention: softmax's exponential replaced by a product of features, elu + 1 (arXiv 2006.16236)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..kernelised import kernelised_attention
from ..precision import at_least_float32
from .attention import AttentionOptions, HeadMixer
from .registry import register_mixer


def _feature(x: Tensor) -> Tensor:
    """elu(x) + 1; written as exp(x) below zero, where a sum with 1 would round small features to nothing."""
    x = at_least_float32(x)
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())


@register_mixer("linear_attention", AttentionOptions)
class LinearAttention(HeadMixer):
    """y_t = phi(q_t)' S / phi(q_t)' z, S = sum of phi(k_u) v_u', z = sum of phi(k_u), phi = elu + 1 (equations 5, 7).

    Cost in T frames: time O(T D^2 / heads), memory O(T D) and D^2 / heads for S. Dropout is on the heads' output, as
    there are no attention weights to drop.
    """

    def mix(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
        """Products of features in the place of softmax."""
        return self.dropout(kernelised_attention(_feature(q), _feature(k), v, valid))
