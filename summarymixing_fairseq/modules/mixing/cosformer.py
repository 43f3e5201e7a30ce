"""cosFormer: linear attention with relu features, weighted by the cosine of the distance (arXiv 2202.08791)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..kernelised import kernelised_attention
from ..precision import at_least_float32
from .heads import HeadOptions, ProjectedHeads
from .registry import register_mixer


@register_mixer("cosformer", HeadOptions)
class CosFormer(ProjectedHeads):
    """Weight of frame u at frame t: relu(q_t) . relu(k_u) cos(pi (t - u) / 2M) (section 3).

    By cos(a - b) = cos a cos b + sin a sin b it is a product of features of twice the width. M is the number of valid
    frames of each clip, so that a clip's weights are the same alone and in a padded batch.

    Cost in T frames: time O(T D^2 / heads), memory O(T D). Dropout is on the heads' output.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        T = q.size(2)
        q, k = at_least_float32(F.relu(q)), at_least_float32(F.relu(k))
        position = torch.arange(T, device=q.device, dtype=q.dtype)
        num_frames = T if padding_mask is None else (~padding_mask).sum(1, keepdim=True).clamp(min=1)  # M, (B, 1)
        # a padded frame gets the angle of the clip's end: at larger ones the cosine is negative
        share = (position[None] / num_frames).clamp(max=1.0)  # (1 or B, T)
        angle = (share * (math.pi / 2))[:, None, :, None]  # (B, 1, T, 1)
        waves = [angle.cos(), angle.sin()]
        q, k = (torch.cat([x * wave for wave in waves], -1) for x in (q, k))  # (B, heads, T, 2D / heads)
        return self.dropout(kernelised_attention(q, k, v, padding_mask))
