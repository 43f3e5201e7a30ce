"""Attention chunk by chunk: to the frames of a chunk and to some before it (arXiv 2409.07165, section 2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..chunks import Chunks
from .heads import ProjectedHeads, with_a_key


class ChunkedAttention(ProjectedHeads):
    """Heads that attend to a whole clip, or with ``chunks`` to each chunk and what is before it.

    With ``chunks`` time and memory of a clip grow with T², as a mask says who hears whom; a step's do not.
    """

    def reach(self, left: int) -> int:
        """Frames before a chunk that are attended to, of ``left`` that may be."""
        return left

    def positioned(self, x: Tensor, first: int) -> Tensor:
        """Queries or keys of frames in a row, the first at position ``first``: (B, heads, T, d) -> the same."""
        return x

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        if chunks is None:
            return super().forward(x, padding_mask)
        frames = torch.arange(x.size(1), device=x.device)
        first = (frames - frames % chunks.size)[:, None]  # of each frame's chunk
        mask = (frames >= first - self.reach(chunks.left)) & (frames < first + chunks.size)  # (T, T)
        if padding_mask is not None:
            mask = with_a_key(mask & ~padding_mask[:, None, None])
        q, k, v = self.project(x).permute(2, 0, 3, 1, 4)  # (B, heads, T, d) each
        return self._attended(self.positioned(q, 0), self.positioned(k, 0), v, mask)

    def first_state(self, batch: int, left: int) -> list[Tensor]:
        """What is remembered before the first frame: keys and values, (B, heads, left, d) each."""
        weight = self.in_proj.weight
        shape = (batch, self.num_heads, self.reach(left), weight.size(1) // self.num_heads)
        return [weight.new_zeros(shape) for _ in range(2)]

    def step(self, x: Tensor, state: list[Tensor], heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The frames that come next, all of one chunk.

        Args:
            x: (B, T, D); state: of the step before, or ``first_state``; heard: (), the frames before them.

        Returns:
            (B, T, D), and the state for the next step.
        """
        q, k, v = self.project(x).permute(2, 0, 3, 1, 4)
        left = state[0].size(2)
        k, v = (torch.cat([before, now], 2) for before, now in zip(state, (k, v)))
        mask = torch.arange(k.size(2), device=x.device) >= left - heard  # what lies before the first frame is not
        y = self._attended(self.positioned(q, left), self.positioned(k, 0), v, mask.expand(x.size(1), -1))
        return y, [kept[:, :, kept.size(2) - left :] for kept in (k, v)]

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """(B, heads, T, d), twice (B, heads, keys, d), what may be attended to -> (B, T, D)."""
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout_p)
        return self.out_proj(y.transpose(1, 2).flatten(2))
