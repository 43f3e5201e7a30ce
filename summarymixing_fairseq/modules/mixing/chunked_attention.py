"""Attention chunk by chunk: to the frames of a chunk and to some before it (arXiv 2409.07165, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..chunks import Chunks, with_left
from .blocks import attend_by_block, blocks_of
from .heads import ProjectedHeads


class ChunkedAttention(ProjectedHeads):
    """Heads that attend to a whole clip, or with ``chunks`` to each chunk and what is before it."""

    def reach(self, left: int) -> int:
        """Frames before a chunk that are attended to, of ``left`` that may be."""
        return left

    def positioned(self, x: Tensor, first: int) -> Tensor:
        """Queries or keys of frames in a row, the first at position ``first``: (..., frames, heads, d) -> the same."""
        return x

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        if chunks is None:
            return super().forward(x, padding_mask)
        size, left = chunks.size, self.reach(chunks.left)
        q, k, v = self.project(x).unbind(2)  # (B, T, heads, d) each
        valid = torch.ones_like(x[..., 0], dtype=torch.bool) if padding_mask is None else ~padding_mask
        around = (with_left(y, size, left) for y in (k, v, valid))
        return self._attended(blocks_of(q, size, least=1), *around)[:, : x.size(1)]

    def first_state(self, batch: int, left: int) -> list[Tensor]:
        """What is remembered before the first frame: keys and values, (B, left, heads, d) each."""
        weight = self.in_proj.weight
        shape = (batch, self.reach(left), self.num_heads, weight.size(1) // self.num_heads)
        return [weight.new_zeros(shape) for _ in range(2)]

    def step(self, x: Tensor, state: list[Tensor], heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The frames that come next, all of one chunk.

        Args:
            x: (B, T, D); state: of the step before, or ``first_state``; heard: (), the frames before them.

        Returns:
            (B, T, D), and the state for the next step.
        """
        q, k, v = self.project(x).unbind(2)
        left = state[0].size(1)
        k, v = (torch.cat([before, now], 1) for before, now in zip(state, (k, v)))
        place = torch.arange(k.size(1), device=x.device)
        valid = (place >= left - heard).expand(x.size(0), 1, -1)
        y = self._attended(q[:, None], k[:, None], v[:, None], valid)
        return y, [kept[:, kept.size(1) - left :] for kept in (k, v)]

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """(B, chunks, size, heads, d), twice (B, chunks, left + size, heads, d), what of them -> (B, T, D)."""
        q, k = self.positioned(q, k.size(2) - q.size(2)), self.positioned(k, 0)
        y = attend_by_block(q, k, v, valid, self.dropout_p)  # (B, heads, T, d)
        return self.out_proj(y.transpose(1, 2).flatten(2))
