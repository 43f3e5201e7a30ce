"""Fastformer: additive attention, one global query and one global key a clip (arXiv 2108.09084)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import cast
from .heads import HeadOptions, ProjectedHeads, keys_to_attend
from .registry import register_mixer


@register_mixer("fastformer", HeadOptions)
class Fastformer(ProjectedHeads):
    """Two additive pools, in each head of width d (section 3.1).

        q = sum of softmax_t(w_q . q_t / sqrt(d)) q_t;    p_t = q * k_t;
        k = sum of softmax_t(w_k . p_t / sqrt(d)) p_t;    y_t = W_o (k * v_t) + q_t

    As in the paper's experiments the values are the queries: v_t = q_t, one projection for both.

    Cost in T frames: time O(T D), memory O(T D). Dropout is on k * v_t.
    """

    num_projected = 2  # queries, which are the values too, and keys

    def __init__(self, options: HeadOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        self.score_query = nn.Parameter(torch.empty(self.num_heads, embed_dim // self.num_heads))  # w_q
        self.score_key = nn.Parameter(torch.empty(self.num_heads, embed_dim // self.num_heads))  # w_k
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Scoring vectors as the rows of a torch layer: uniform within +- 1 / sqrt(d)."""
        for vector in (self.score_query, self.score_key):
            nn.init.uniform_(vector, -(vector.size(1) ** -0.5), vector.size(1) ** -0.5)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        q, k = self.project(x).permute(2, 0, 3, 1, 4)  # -> 2 x (B, heads, T, D / heads)
        attend = keys_to_attend(padding_mask)
        key = _pool(_pool(q, self.score_query, attend) * k, self.score_key, attend)  # (B, heads, 1, D / heads)
        mixed, q = (y.transpose(1, 2).flatten(2) for y in (self.dropout(key * q), q))
        return self.out_proj(mixed) + q


def _pool(x: Tensor, score: Tensor, attend: Tensor | None) -> Tensor:
    """Sum of softmax_t(score . x_t / sqrt(d)) x_t: attention of one query. (B, heads, T, d) -> (B, heads, 1, d)."""
    if attend is not None:
        x = x.masked_fill(~attend.transpose(2, 3), 0.0)
    query = cast(score, x.dtype)[:, None].expand(x.size(0), -1, -1, -1)  # (heads, d) -> (B, heads, 1, d)
    return F.scaled_dot_product_attention(query, x, x, attend)
