"""Self-attention to the frames around: linear in their number, and blind to what is far."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...system.options import option
from ..kernels.recompute import made_again
from .blocks import attend_by_block, blocks_of, with_neighbours
from .chunked_attention import ChunkedAttention
from .heads import HeadOptions
from .registry import register_mixer


@dataclass
class LocalOptions(HeadOptions):
    """Options of ``local``."""

    window: int = option(
        64, "frames of a block; a frame attends to its block and the one on each side", low=1, high=1_000_000
    )

    def streams(self) -> bool:
        """Yes."""
        return True


@register_mixer("local", LocalOptions)
class LocalSelfAttention(ChunkedAttention):
    """Self-attention of a block of frames to itself and the blocks beside it.

    The sliding window of Longformer (arXiv 2004.05150, section 3.1), in the blocks of Big Bird (arXiv 2007.14062,
    appendix D): with blocks of w frames a frame hears between w and 2w - 1 on each side. Time and memory grow with T:
    of keys and values three copies are made. Chunk by chunk it hears w frames before a chunk at most.
    """

    def __init__(self, options: LocalOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        self.window = options.window

    def reach(self, left: int) -> int:
        """See ``ChunkedAttention``."""
        return min(left, self.window)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        T = q.size(2)
        valid = torch.ones_like(q[:, 0, :, 0], dtype=torch.bool) if padding_mask is None else ~padding_mask
        keys, values = made_again(self._around, k), made_again(self._around, v)
        around = with_neighbours(blocks_of(valid, self.window))  # (B, blocks, 3w)
        y = attend_by_block(blocks_of(q.transpose(1, 2), self.window), keys, values, around, self.dropout_p)
        return y[:, :, :T]

    def _around(self, x: Tensor) -> Tensor:
        """(B, heads, T, d) -> (B, blocks, 3w, heads, d)."""
        return with_neighbours(blocks_of(x.transpose(1, 2), self.window))
