"""Multi-head self-attention by torch's fused kernels: quadratic in the number of frames, the twin of SummaryMixing."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .heads import HeadOptions, ProjectedHeads, keys_to_attend
from .registry import register_mixer


@register_mixer("mhsa", HeadOptions)
class MultiHeadSelfAttention(ProjectedHeads):
    """Self-attention (Vaswani et al. 2017, section 3.2) through ``scaled_dot_product_attention``.

    Time grows with T², memory with T; with dropout on a CPU memory with T² too.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        return F.scaled_dot_product_attention(q, k, v, keys_to_attend(padding_mask), self.dropout_p)
