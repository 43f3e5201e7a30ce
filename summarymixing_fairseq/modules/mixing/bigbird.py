"""Big Bird's sparse attention: a window, global blocks and random blocks, linear in the number of frames."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ...system.options import option
from ..kernels.recompute import made_again
from .blocks import attend_by_block, blocks_of, num_blocks, with_neighbours
from .heads import HeadOptions, ProjectedHeads, keys_to_attend
from .registry import register_mixer


@dataclass
class BigBirdOptions(HeadOptions):
    """Options of ``bigbird``."""

    window: int = option(
        64, "frames of a block; a frame attends to its block and the one on each side", low=1, high=1_000_000
    )
    global_blocks: int = option(
        2, "blocks at the beginning that attend to all frames, and all frames to them", low=1, high=1_000
    )
    random_blocks: int = option(3, "other blocks of the clip that a block attends to, by chance", low=1, high=1_000)


@register_mixer("bigbird", BigBirdOptions)
class BigBird(ProjectedHeads):
    """Self-attention to a window, global and random blocks (arXiv 2007.14062, section 2 and appendix D).

    Block i attends to blocks i - 1, i, i + 1, to the g first blocks, and to r others of the clip that are drawn by
    chance; the g first blocks attend to all. Nothing is attended to twice, and a clip of up to g + r + 2 blocks
    has full attention. Time and memory grow with T: of keys and values 3 + g + r copies are made.

    The draw is a function of the layer's seed, the block, and the number of blocks of the clip: the same in every call,
    on every device, for a clip alone and in a padded batch, at any length. The seed is drawn when the layer is made,
    and kept in the checkpoint.

    Deviations from the paper: all global blocks are at the beginning, where padding does not move them, and not at both
    ends; of the blocks that are left, cut into r equal parts, one of each part is drawn, and not r of all.

    A block has ``window`` frames; g are the ``global_blocks``, r the ``random_blocks``.
    """

    seed: Tensor

    def __init__(self, options: BigBirdOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        self.window = options.window
        self.global_blocks = options.global_blocks
        self.random_blocks = options.random_blocks
        self.register_buffer("seed", torch.randint(2**31, ()))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        T, g, least = q.size(2), self.global_blocks, self.global_blocks + 2
        valid = torch.ones_like(q[:, 0, :, 0], dtype=torch.bool) if padding_mask is None else ~padding_mask
        queries = blocks_of(q.transpose(1, 2), self.window, least)  # (B, g + n, w, heads, d)
        first = queries[:, :g].flatten(1, 2).transpose(1, 2)  # (B, heads, g w, d)
        y = F.scaled_dot_product_attention(first, k, v, keys_to_attend(padding_mask), self.dropout_p)
        drawn, is_drawn = self.draw(valid)
        keys, values = (made_again(partial(self._heard, drawn=drawn), x) for x in (k, v))
        frames = blocks_of(valid, self.window, least)  # (B, g + n, w)
        before = torch.arange(frames.size(1), device=q.device) < g
        # a global block that is also a neighbour is attended to as a global one
        near = with_neighbours(frames & ~before[:, None])[:, g:]  # (B, n, 3w)
        everywhere = _of_all(frames[:, :g], near.size(1))  # (B, n, g w)
        by_chance = _taken(frames, drawn) & is_drawn.repeat_interleave(self.window, 2)  # (B, n, r w)
        attend = torch.cat([near, everywhere, by_chance], 2)
        others = attend_by_block(queries[:, g:], keys, values, attend, self.dropout_p)
        return torch.cat([y, others], 2)[:, :, :T]

    def draw(self, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Random blocks of the blocks after the global ones.

        Args:
            valid: (B, T) bool, False = padding.

        Returns:
            (B, n, r) numbers of blocks, and (B, n, r) bool: False where no block is left to draw.
        """
        g, r = self.global_blocks, self.random_blocks
        count = (valid.sum(1)[:, None] + self.window - 1) // self.window  # (B, 1): blocks of the clip
        own = torch.arange(g, num_blocks(valid.size(1), self.window, g + 2), device=valid.device)  # (n,)
        part = torch.arange(r, device=valid.device)
        nearest = (own - 1).clamp(min=g)  # its window, without global blocks: `near` blocks from `nearest` on
        near = (torch.minimum(own + 1, count - 1) - nearest + 1).clamp(min=0)  # (B, n)
        left = (count - g - near).clamp(min=0)[..., None]
        start, end = left * part // r, left * (part + 1) // r  # (B, n, r): of each part, among those that are left
        chance = _mixed(_mixed(self.seed + own[:, None]) + part)  # (n, r)
        drawn = g + start + chance % (end - start).clamp(min=1)
        drawn = drawn + (drawn >= nearest[:, None]) * near[..., None]  # the window is passed over
        return torch.where(end > start, drawn, 0), end > start

    def _heard(self, x: Tensor, drawn: Tensor) -> Tensor:
        """What the n blocks after the global ones attend to: (B, heads, T, d) -> (B, n, keys, heads, d)."""
        blocks = blocks_of(x.transpose(1, 2), self.window, self.global_blocks + 2)
        near = with_neighbours(blocks)[:, self.global_blocks :]
        everywhere = _of_all(blocks[:, : self.global_blocks], near.size(1))
        return torch.cat([near, everywhere, _taken(blocks, drawn)], 2)


def _of_all(blocks: Tensor, n: int) -> Tensor:
    """The frames of the g global blocks, for each of n blocks: (B, g, w, ...) -> (B, n, g w, ...)."""
    frames = blocks.flatten(1, 2).unsqueeze(1)
    return frames.expand(-1, n, *frames.shape[2:])


def _taken(blocks: Tensor, numbers: Tensor) -> Tensor:
    """Frames of the blocks of these numbers: (B, blocks, w, ...), (B, n, r) -> (B, n, r w, ...)."""
    B, n, r = numbers.shape
    first = torch.arange(B, device=blocks.device)[:, None, None] * blocks.size(1)
    taken = blocks.flatten(0, 1).index_select(0, (first + numbers).flatten())
    return taken.unflatten(0, (B, n, r)).flatten(2, 3)


def _mixed(x: Tensor) -> Tensor:
    """Integers that look random, of integers that do not: shifts and products of 32 bits, the same on every device."""
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return x ^ (x >> 16)
