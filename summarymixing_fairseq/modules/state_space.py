"""Scan of a state space with one decay a head and frame, by products over chunks (arXiv 2405.21060, section 6)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Frames per chunk: within a chunk one matrix product, between chunks states are carried on.
CHUNK_FRAMES = 64


def _decays(log_decay: Tensor) -> Tensor:
    """exp(sum of log_decay over u < i <= t) for t >= u, else 0. (..., K) -> (..., K, K), row t, column u."""
    K = log_decay.size(-1)
    not_later = torch.ones(K, K, dtype=torch.bool, device=log_decay.device).tril()
    # each column a sum of its own, as differences of one sum lose digits; masked before the exponential, which would
    # be out of range there
    sums = log_decay[..., None].masked_fill(~not_later.tril(-1), 0.0).cumsum(-2)
    return sums.masked_fill(~not_later, float("-inf")).exp()


def _carried(states: Tensor, log_decay: Tensor) -> Tensor:
    """h_c = exp(log_decay_c) h_(c-1) + states_c, h before the first is zero; linear in C, but C x C in a graph.

    (B, heads, C, S), (B, heads, C) -> (B, heads, C, S).
    """
    B, H, C, S = states.shape
    if torch.compiler.is_compiling() or C <= CHUNK_FRAMES:  # a graph is for any length
        return _decays(log_decay) @ states
    # chunks of chunks: carried on within each, and then from one to the next
    missing = -C % CHUNK_FRAMES
    states = F.pad(states, (0, 0, 0, missing)).view(B, H, -1, CHUNK_FRAMES, S)
    log_decay = F.pad(log_decay, (0, missing)).view(B, H, -1, CHUNK_FRAMES)
    within = _decays(log_decay) @ states
    before = _before(_carried(within[..., -1, :], log_decay.sum(-1)))  # (B, heads, chunks, S)
    from_before = log_decay.cumsum(-1).exp()[..., None] * before[..., None, :]
    return (within + from_before).view(B, H, -1, S)[:, :, :C]


def _before(states: Tensor) -> Tensor:
    """What each chunk starts with: the state after the one before it, zero for the first. (..., C, S) -> the same."""
    return F.pad(states, (0, 0, 1, 0))[..., :-1, :]


def state_space_scan(x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, *, most: int = CHUNK_FRAMES) -> Tensor:
    """h_t = exp(log_decay_t) h_(t-1) + b_t x_t', y_t = c_t' h_t, h before the first frame is zero.

    Time O(T), memory O(T): no state of a single frame is made, only those at the ends of chunks. A compiled or
    exported graph, which is for any length, makes a table of chunks x chunks: 0.5 GB for an hour in 8 heads.

    Args:
        x: (B, T, heads, P); log_decay: (B, T, heads), not positive; b, c: (B, T, N), the same for all heads.
        most: frames of a chunk at most; clips that are shorter waste less with fewer.

    Returns:
        (B, T, heads, P).
    """
    B, T, H, P = x.shape
    K = CHUNK_FRAMES if torch.compiler.is_compiling() else min(most, CHUNK_FRAMES)  # a graph is for any length
    C = (T + K - 1) // K  # not of -T: ONNX rounds quotients towards zero
    missing = C * K - T  # frames of zeros, which change nothing
    x = F.pad(x, (0, 0, 0, 0, 0, missing)).view(B, C, K, H, P).permute(0, 3, 1, 2, 4)
    log_decay = F.pad(log_decay, (0, 0, 0, missing)).view(B, C, K, H).permute(0, 3, 1, 2)
    b, c = (F.pad(z, (0, 0, 0, missing)).view(B, 1, C, K, z.size(-1)) for z in (b, c))
    # now x: (B, heads, C, K, P); log_decay: (B, heads, C, K); b, c: (B, 1, C, K, N)
    decays = _decays(log_decay)  # (B, heads, C, K, K)
    within = (c @ b.transpose(-2, -1) * decays) @ x
    ends = b.transpose(-2, -1) @ (decays[..., -1, :, None] * x)  # states, (B, heads, C, N, P)
    starts = _before(_carried(ends.flatten(3), log_decay.sum(-1))).view_as(ends)
    y = within + log_decay.cumsum(-1).exp()[..., None] * (c @ starts)
    return y.permute(0, 2, 3, 1, 4).reshape(B, C * K, H, P)[:, :T]  # (B, heads, C, K, P) -> (B, T, heads, P)
