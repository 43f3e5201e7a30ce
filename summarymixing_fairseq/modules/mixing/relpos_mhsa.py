"""Self-attention with the relative positions of Transformer-XL, attention's form in the Conformer."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..positions import sinusoids
from ..precision import cast
from .heads import HeadOptions, ProjectedHeads, keys_to_attend
from .registry import register_mixer


@register_mixer("relpos_mhsa", HeadOptions)
class RelativeSelfAttention(ProjectedHeads):
    """Self-attention with relative positions (Transformer-XL, arXiv 1901.02860, section 3.3; Gulati et al. 2020).

        score(t, u) = ((q_t + a)' k_u + (q_t + b)' W_R r_(t - u)) / sqrt(d)

    r are sinusoids of positions from T - 1 down to 1 - T; a and b are learned, the paper's u and v. Time and memory
    grow with T²: the second term is a table of T x 2T numbers a head, which for a clip of 4 minutes (12,000 frames) and
    8 heads is 9.2 GB in float32; no fused kernel avoids it.
    """

    def __init__(self, options: HeadOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        self.position_proj = nn.Linear(embed_dim, embed_dim, bias=False)  # a bias is the same for all keys: no effect
        nn.init.xavier_uniform_(self.position_proj.weight)
        self.content_bias = nn.Parameter(torch.zeros(embed_dim))
        self.position_bias = nn.Parameter(torch.zeros(embed_dim))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        _, H, T, d = q.shape
        a, b = (cast(bias, q.dtype).view(H, 1, d) for bias in (self.content_bias, self.position_bias))
        scores = _by_key((q + b) @ self._positions(T, q).transpose(1, 2)) / math.sqrt(d)  # (B, heads, T, T)
        attend = keys_to_attend(padding_mask)
        if attend is not None:
            scores = scores.masked_fill(~attend, -math.inf)
        return F.scaled_dot_product_attention(q + a, k, v, scores, self.dropout_p)

    def _positions(self, num_frames: int, like: Tensor) -> Tensor:
        """W_R r of the positions T - 1, ..., -T: (heads, 2T, D / heads). The last is there for ``_by_key`` alone."""
        steps = torch.arange(num_frames - 1, -num_frames - 1, -1, device=like.device, dtype=torch.float32)
        weight = cast(self.position_proj.weight, like.dtype)
        r = F.linear(sinusoids(steps, weight.size(1)).to(like.dtype), weight)  # (2T, D)
        return r.view(2 * num_frames, self.num_heads, -1).transpose(0, 1)


def _by_key(scores: Tensor) -> Tensor:
    """Scores of positions T - 1, ..., -T at every frame -> those of keys: (B, heads, T, 2T) -> (B, heads, T, T).

    Key u of frame t is at the place T - 1 - t + u: read as one line of numbers from place T - 1 on, rows that are one
    number shorter begin where they should.
    """
    T = scores.size(2)
    line = scores.flatten(2)[..., T - 1 : T - 1 + T * (2 * T - 1)]
    return line.unflatten(2, (T, 2 * T - 1))[..., :T]
