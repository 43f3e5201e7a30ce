"""Nyströmformer: softmax attention through a few landmark frames (arXiv 2102.03902)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...system.options import option
from ..precision import at_least_float32
from .heads import HeadOptions, ProjectedHeads, keys_to_attend
from .registry import register_mixer

# Of the pseudo-inverse, as in the paper.
ITERATIONS = 6


@dataclass
class NystromformerOptions(HeadOptions):
    """Options of ``nystromformer``."""

    num_landmarks: int = option(64, "landmarks: means of stretches of a clip", low=1, high=4096)


@register_mixer("nystromformer", NystromformerOptions)
class Nystromformer(ProjectedHeads):
    """Attention by the Nyström method: softmax(q k~') pinv(softmax(q~ k~')) softmax(q~ k') v, each softmax of products
    times 1 / sqrt(d) (section "Nyströmformer", the inverse by its iteration).

    Landmarks q~, k~ are means of stretches of the valid frames, as equal in length as can be. Of a clip with fewer
    frames than landmarks each frame is one: the result is then near attention's, as near as six iterations bring the
    inverse. It is iterated in float32, each from its own norms: the code of the paper takes one norm for the batch,
    by which clips would change each other.

    Deviation: the paper adds a depthwise convolution of the values, one filter a head; it is left out, as the layer has
    a convolution of its own.

    Cost in T frames: time O(T D num_landmarks), memory O(T (D + num_landmarks)). Dropout is on the heads' output.
    """

    def __init__(self, options: NystromformerOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        self.num_landmarks = options.num_landmarks

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        B, _, T, d = q.shape
        attend = keys_to_attend(padding_mask)
        if attend is None:
            valid = q.new_ones(B, T, dtype=torch.bool)
        else:
            valid = attend[:, 0, 0]
            q, k, v = (x.masked_fill(~attend.transpose(2, 3), 0.0) for x in (q, k, v))
        count = valid.sum(1, keepdim=True)  # (B, 1)
        used = count.clamp(max=self.num_landmarks)
        index = torch.arange(self.num_landmarks, device=q.device)
        stretch = (valid.cumsum(1) - 1) * used // count  # (B, T)
        member = (stretch[:, None] == index[:, None]) & valid[:, None]  # (B, m, T)
        there = index < used  # (B, m)
        with torch.autocast(q.device.type, enabled=False):
            weights = member.to(torch.promote_types(q.dtype, torch.float32))
            means = (weights / weights.sum(2, keepdim=True).clamp(min=1))[:, None]  # (B, 1, m, T)
            q_mean, k_mean = ((means @ at_least_float32(x)).to(x.dtype) for x in (q, k))  # (B, heads, m, d)
            scores = at_least_float32(q_mean) @ at_least_float32(k_mean).transpose(2, 3) * d**-0.5
            # landmarks that are not there are a block of their own, the identity, which is its own inverse
            scores = scores.masked_fill(~there[:, None, None], float("-inf"))
            identity = torch.eye(self.num_landmarks, device=q.device, dtype=scores.dtype)
            kernel = torch.where(there[:, None, :, None], scores.softmax(-1), identity)
            inverse = pseudo_inverse(kernel)
            heard = at_least_float32(F.scaled_dot_product_attention(q_mean, k, v, attend))  # (B, heads, m, d)
            y = F.scaled_dot_product_attention(q, k_mean, (inverse @ heard).to(v.dtype), there[:, None, None])
        return self.dropout(y)


def pseudo_inverse(a: Tensor) -> Tensor:
    """Of square matrices without negative entries, by the paper's iteration. (..., m, m) -> the same."""
    identity = torch.eye(a.size(-1), device=a.device, dtype=a.dtype)
    norms = a.sum(-1).amax(-1) * a.sum(-2).amax(-1)  # of rows and columns, the largest sums
    z = a.transpose(-2, -1) / norms[..., None, None]
    for _ in range(ITERATIONS):
        az = a @ z
        z = z @ (13 * identity - az @ (15 * identity - az @ (7 * identity - az))) / 4
    return z
