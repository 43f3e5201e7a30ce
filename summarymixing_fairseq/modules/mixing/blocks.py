"""Attention of blocks of frames to lists of frames, for mixers that attend to a part of the clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .heads import with_a_key


def num_blocks(num_frames: int, size: int, least: int = 2) -> int:
    """Blocks of a clip, and ``least`` of a short one. With one block ``torch.compile`` would compile once more."""
    # sym_max: in a graph for any length the number stays open
    return torch.sym_max((num_frames + size - 1) // size, least)


def blocks_of(x: Tensor, size: int, least: int = 2) -> Tensor:
    """Cut time into blocks, filled up with zeros (or False): (B, T, ...) -> (B, ``num_blocks``, size, ...)."""
    count = num_blocks(x.size(1), size, least)
    padded = F.pad(x, (0, 0) * (x.dim() - 2) + (0, count * size - x.size(1)))
    return padded.unflatten(1, (count, size))


def with_neighbours(blocks: Tensor) -> Tensor:
    """Each block between the one before and the one after; zeros (or False) where there is none.

    (B, blocks, size, ...) -> (B, blocks, 3 size, ...).
    """
    padded = F.pad(blocks, (0, 0) * (blocks.dim() - 2) + (1, 1))
    return torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], 2)


def attend_by_block(q: Tensor, k: Tensor, v: Tensor, attend: Tensor, dropout_p: float) -> Tensor:
    """Attention of every block of queries to its own list of keys, by one fused kernel for all blocks.

    Args:
        q: (B, blocks, size, heads, d); k, v: (B, blocks, keys, heads, d).
        attend: (B, blocks, keys) bool, True = may be attended to.

    Returns:
        (B, heads, blocks * size, d).
    """
    B, _, _, H, d = q.shape
    q, k, v = (x.flatten(0, 1).transpose(1, 2) for x in (q, k, v))  # -> (B * blocks, heads, size or keys, d)
    mask = with_a_key(attend.flatten(0, 1))[:, None, None, :]
    y = F.scaled_dot_product_attention(q, k, v, mask, dropout_p)
    # (B * blocks, heads, size, d) -> (B, blocks * size, heads, d) -> (B, heads, blocks * size, d)
    return y.transpose(1, 2).reshape(B, -1, H, d).transpose(1, 2)
