"""Multi-head self-attention by torch's fused kernels: quadratic in the number of frames, the twin of SummaryMixing."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import MAX_WIDTH, Refused, option
from ..precision import Linear
from .registry import MixerOptions, register_mixer


@dataclass
class AttentionOptions(MixerOptions):
    """Options of ``mhsa``."""

    num_heads: int = option(
        8, "attention heads; they divide the width", low=1, high=MAX_WIDTH, model_field="encoder_attention_heads"
    )

    def check(self, embed_dim: int) -> None:
        """Raises Refused for heads that do not divide the width."""
        if embed_dim % self.num_heads:
            raise Refused("num_heads", self.num_heads, f"must divide encoder_embed_dim={embed_dim}")

    def num_weights(self, embed_dim: int) -> int:
        """Projections of queries, keys, values and output."""
        return 4 * embed_dim * embed_dim


def attended(padding_mask: Tensor) -> Tensor:
    """(B, T) bool, True = padding -> (B, T) bool, True = a frame that may be attended to.

    With nothing to attend to a softmax would be NaN: a clip without one valid frame attends to its padding.
    """
    return ~padding_mask | padding_mask.all(1, keepdim=True)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, dropout: float = 0.0) -> Tensor:
    """softmax(q k' / sqrt(d)) v.

    Args:
        q: (B, heads, T, d); k, v: (B, heads, S, d); valid: (B, S) bool, True = may be attended to, or None for all.
        dropout: share of the weights that are dropped.
    """
    mask = None if valid is None else valid[:, None, None, :]  # (B, S) -> (B, 1, 1, S)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class HeadMixer(nn.Module):
    """Base of the attention family: queries, keys and values by head, ``mix`` of a subclass, and a projection.

    Args:
        embed_dim: D; num_heads: divides D; dropout: on what the subclass says.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(self, embed_dim: int, num_heads: int = 8, dropout: float = 0.0):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"{num_heads} attention heads do not divide the width {embed_dim}")
        self.num_heads = num_heads
        self.dropout = nn.Dropout(dropout)
        self.in_proj = Linear(embed_dim, 3 * embed_dim)
        self.out_proj = Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        B, T, D = x.shape
        # (B, T, 3D) -> 3 x (B, heads, T, D / heads)
        q, k, v = self.in_proj(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        y = self.mix(q, k, v, None if padding_mask is None else attended(padding_mask))
        return self.out_proj(y.transpose(1, 2).reshape(B, T, D))  # (B, heads, T, D / heads) -> (B, T, D)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
        """Queries, keys, values (B, heads, T, D / heads), and ``attended`` (B, T) -> (B, heads, T, D / heads)."""
        raise NotImplementedError


@register_mixer("mhsa", AttentionOptions)
class MultiHeadSelfAttention(HeadMixer):
    """Self-attention (Vaswani et al. 2017, section 3.2) through ``scaled_dot_product_attention``.

    Cost in T frames: time quadratic, memory linear. Dropout is on the attention weights.
    """

    def mix(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
        """softmax(q k' / sqrt(D / heads)) v."""
        return softmax_attention(q, k, v, valid, self.dropout.p if self.training else 0.0)
