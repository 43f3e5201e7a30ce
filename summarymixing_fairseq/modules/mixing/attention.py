"""Multi-head self-attention by torch's fused kernels: the quadratic twin every claim is measured against."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .registry import register_mixer


@register_mixer("mhsa")
class MultiHeadSelfAttention(nn.Module):
    """Self-attention (Vaswani et al. 2017, section 3.2) through ``scaled_dot_product_attention``.

    Args:
        embed_dim: D; num_heads: divides D; dropout: on the attention weights.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(self, embed_dim: int, num_heads: int = 8, dropout: float = 0.0):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"{num_heads} attention heads do not divide the width {embed_dim}")
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        B, T, D = x.shape
        # (B, T, 3D) -> 3 x (B, heads, T, D / heads)
        q, k, v = self.in_proj(x).view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        attend = None
        if padding_mask is not None:
            # A row with nothing to attend to would be NaN: a clip without one valid frame attends to its padding.
            attend = ~padding_mask | padding_mask.all(1, keepdim=True)
            attend = attend[:, None, None, :]  # (B, T) -> (B, 1, 1, T): True = may be attended to
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=self.dropout if self.training else 0.0)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, D))  # (B, heads, T, D / heads) -> (B, T, D)
