"""Linformer: keys and values projected along time to a fixed number of rows (arXiv 2006.04768)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ...system.errors import InputError
from ...system.options import option
from ..precision import cast
from .heads import HeadOptions, ProjectedHeads
from .registry import register_mixer


@dataclass
class LinformerOptions(HeadOptions):
    """Options of ``linformer``."""

    rank: int = option(256, "rows that keys and values are projected to along time", low=1, high=8192)
    max_frames: int = option(4096, "longest clip, in encoder frames; weights grow with it", low=1, high=65_536)


@register_mixer("linformer", LinformerOptions)
class Linformer(ProjectedHeads):
    """softmax(q (E K)' / sqrt(d)) F V (equation 7), E and F shared by all heads.

    Padded keys and values are zero before the projection. A clip of T frames meets the first T columns of E and F.

    Cost in T frames: time O(T D rank), memory O(T D). Dropout is on the attention weights.

    E and F are of ``rank`` rows and ``max_frames`` columns: a longer clip is refused with an InputError.
    """

    def __init__(self, options: LinformerOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        self.max_frames = options.max_frames
        self.project_keys = nn.Linear(options.max_frames, options.rank, bias=False)  # E
        self.project_values = nn.Linear(options.max_frames, options.rank, bias=False)  # F
        nn.init.xavier_uniform_(self.project_keys.weight)
        nn.init.xavier_uniform_(self.project_values.weight)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        T = k.size(2)
        if self.max_frames < T:
            raise InputError(
                f"linformer: a clip of {T} frames, but max_frames={self.max_frames}: cut the clips, or pre-train with "
                "a larger model.mixer_options.max_frames (its weights grow with it)"
            )
        if padding_mask is not None:
            padded = padding_mask[:, None, :, None]  # (B, T) -> (B, 1, T, 1)
            k, v = k.masked_fill(padded, 0.0), v.masked_fill(padded, 0.0)
        k = cast(self.project_keys.weight, k.dtype)[:, :T] @ k  # (B, heads, rank, D / heads)
        v = cast(self.project_values.weight, v.dtype)[:, :T] @ v
        return F.scaled_dot_product_attention(q, k, v, None, self.dropout_p)
