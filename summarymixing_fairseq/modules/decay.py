"""Exponentially decayed mean over time, in both directions (arXiv 2409.07165, section 2).

Time is 64 T D within blocks and (T / 64)^2 D between them: nearly linear up to an hour of frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Frames per block: within a block one small matrix product, and one between the ends of blocks. The latter's matrix has
# more numbers than the frames only from 4096 D frames on, which are hours.
BLOCK_FRAMES = 64


def _decayed_sum(x: Tensor, decay: float) -> Tensor:
    """y_t = sum over u <= t of decay^(t - u) x_u. (B, T, D) -> (B, T, D); T a multiple of BLOCK_FRAMES."""
    B, T, D = x.shape
    K = BLOCK_FRAMES
    steps = torch.arange(K, device=x.device, dtype=x.dtype)
    within = (decay ** (steps[:, None] - steps)).tril()  # (K, K)
    y = within @ x.view(B, T // K, K, D)  # (B, blocks, K, D)
    blocks = torch.arange(T // K, device=x.device, dtype=x.dtype)
    before = (blocks[:, None] - blocks - 1).clamp(min=0)  # whole blocks between two
    carried = (decay ** (K * before)).tril(-1) @ y[:, :, -1]  # what a block takes on, (B, blocks, D)
    onwards = decay ** (steps + 1)  # (K,)
    return (y + onwards[:, None] * carried[:, :, None]).view(B, T, D)


def decayed_mean(x: Tensor, padding_mask: Tensor | None, decay: float) -> Tensor:
    """Mean of the valid frames, frame u weighing decay^|t - u| at frame t: a forward and a backward scan.

    Args:
        x: (B, T, D); padding_mask: (B, T) bool, True = padding, or None; decay: in (0, 1).

    Returns:
        (B, T, D) in the dtype of ``x``, accumulated in float32.
    """
    B, T, D = x.shape
    valid = x.new_ones(B, T, 1) if padding_mask is None else (~padding_mask)[..., None].to(x.dtype)
    if padding_mask is not None:
        x = x.masked_fill(padding_mask[..., None], 0.0)
    with torch.autocast(x.device.type, enabled=False):
        # (B, T, D + 1): the last channel sums the weights
        values = torch.cat([x, valid], -1).to(torch.promote_types(x.dtype, torch.float32))
        padded = torch.nn.functional.pad(values, (0, 0, 0, BLOCK_FRAMES - 1 - (T - 1) % BLOCK_FRAMES))
        forward = _decayed_sum(padded, decay)[:, :T]
        backward = _decayed_sum(padded.flip(1), decay).flip(1)[:, :T]
        total = forward + backward - values  # frame t itself is in both scans
        weight = total[..., -1:].detach()  # of no gradient: the division then stores no numerator
        return (total[..., :-1] / weight.clamp(min=torch.finfo(total.dtype).tiny)).to(x.dtype)
