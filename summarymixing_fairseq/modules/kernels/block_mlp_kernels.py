"""The Triton kernels of ``block_mlp``.

Each program has some frames of one head. Widths are padded to powers of two, with zeros that stay zero: every
activation here maps 0 to 0.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows (frames) of a program.
ROWS = 64
# Arguments that change from batch to batch: no kernel is compiled for the ones and multiples of 16 among them.
VARYING = ("num_rows", "num_frames")


@triton.jit
def _activation(z, NAME: tl.constexpr):
    if NAME == "gelu":
        return 0.5 * z * (1.0 + tl.erf(z * 0.7071067811865476))
    if NAME == "swish":
        return z * tl.sigmoid(z)
    if NAME == "none":
        return z
    return tl.maximum(z, 0.0)


@triton.jit
def _derivative(z, NAME: tl.constexpr):
    if NAME == "gelu":
        normal = 0.3989422804014327 * tl.exp(-0.5 * z * z)
        return 0.5 * (1.0 + tl.erf(z * 0.7071067811865476)) + z * normal
    if NAME == "swish":
        s = tl.sigmoid(z)
        return s * (1.0 + z * (1.0 - s))
    if NAME == "none":
        return tl.full(z.shape, 1.0, z.dtype)
    return tl.where(z > 0.0, 1.0, 0.0)


@triton.jit
def _matrix(pointer, rows, columns, NUM_ROWS: tl.constexpr, NUM_COLUMNS: tl.constexpr):
    there = (rows < NUM_ROWS)[:, None] & (columns < NUM_COLUMNS)[None, :]
    return tl.load(pointer + rows[:, None] * NUM_COLUMNS + columns[None, :], mask=there, other=0.0)


@triton.jit(do_not_specialize=VARYING[:1])
def _forward(
    x, inner, inner_bias, outer, outer_bias, y, num_rows,
    H: tl.constexpr, IN: tl.constexpr, HIDDEN: tl.constexpr, OUT: tl.constexpr,
    IN_PADDED: tl.constexpr, HIDDEN_PADDED: tl.constexpr, OUT_PADDED: tl.constexpr,
    NAME: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    i, j, k = tl.arange(0, IN_PADDED), tl.arange(0, HIDDEN_PADDED), tl.arange(0, OUT_PADDED)
    there = (rows < num_rows)[:, None]
    frames = tl.load(x + rows[:, None] * (H * IN) + head * IN + i[None, :], mask=there & (i < IN)[None, :], other=0.0)
    w = _matrix(inner + head * IN * HIDDEN, i, j, IN, HIDDEN)
    z = tl.dot(frames, w) + tl.load(inner_bias + head * HIDDEN + j, mask=j < HIDDEN, other=0.0).to(tl.float32)[None, :]
    hidden = _activation(z, NAME).to(frames.dtype)
    w = _matrix(outer + head * HIDDEN * OUT, j, k, HIDDEN, OUT)
    z = tl.dot(hidden, w) + tl.load(outer_bias + head * OUT + k, mask=k < OUT, other=0.0).to(tl.float32)[None, :]
    values = _activation(z, NAME).to(frames.dtype)
    tl.store(y + rows[:, None] * (H * OUT) + head * OUT + k[None, :], values, mask=there & (k < OUT)[None, :])


@triton.jit(do_not_specialize=VARYING)
def _backward(
    x, inner, inner_bias, outer, outer_bias, gradient, hidden, to_z1, to_z2, to_x, to_biases,
    num_rows, num_frames, of_clip, of_frame, of_channel,
    H: tl.constexpr, IN: tl.constexpr, HIDDEN: tl.constexpr, OUT: tl.constexpr,
    IN_PADDED: tl.constexpr, HIDDEN_PADDED: tl.constexpr, OUT_PADDED: tl.constexpr,
    NAME: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    step, head = tl.program_id(0), tl.program_id(1)
    rows = step * ROWS + tl.arange(0, ROWS).to(tl.int64)
    i, j, k = tl.arange(0, IN_PADDED), tl.arange(0, HIDDEN_PADDED), tl.arange(0, OUT_PADDED)
    there = (rows < num_rows)[:, None]
    of_x = rows[:, None] * (H * IN) + head * IN + i[None, :]
    of_hidden = rows[:, None] * (H * HIDDEN) + head * HIDDEN + j[None, :]
    of_y = rows[:, None] * (H * OUT) + head * OUT + k[None, :]
    frames = tl.load(x + of_x, mask=there & (i < IN)[None, :], other=0.0)
    w1 = _matrix(inner + head * IN * HIDDEN, i, j, IN, HIDDEN)
    w2 = _matrix(outer + head * HIDDEN * OUT, j, k, HIDDEN, OUT)
    z1 = (
        tl.dot(frames, w1) + tl.load(inner_bias + head * HIDDEN + j, mask=j < HIDDEN, other=0.0).to(tl.float32)[None, :]
    )
    values = _activation(z1, NAME).to(frames.dtype)
    tl.store(hidden + of_hidden, values, mask=there & (j < HIDDEN)[None, :])
    z2 = tl.dot(values, w2) + tl.load(outer_bias + head * OUT + k, mask=k < OUT, other=0.0).to(tl.float32)[None, :]
    at = (rows // num_frames)[:, None] * of_clip + (rows % num_frames)[:, None] * of_frame
    at += (head * OUT + k)[None, :] * of_channel
    upper = tl.load(gradient + at, mask=there & (k < OUT)[None, :], other=0.0).to(tl.float32) * _derivative(z2, NAME)
    to_biases += step.to(tl.int64) * (H * (HIDDEN + OUT))
    tl.store(to_biases + H * HIDDEN + head * OUT + k, tl.sum(upper, 0), mask=k < OUT)
    to_outer = upper.to(frames.dtype)
    tl.store(to_z2 + of_y, to_outer, mask=there & (k < OUT)[None, :])
    lower = tl.dot(to_outer, tl.trans(w2)) * _derivative(z1, NAME)
    tl.store(to_biases + head * HIDDEN + j, tl.sum(lower, 0), mask=j < HIDDEN)
    to_inner = lower.to(frames.dtype)
    tl.store(to_z1 + of_hidden, to_inner, mask=there & (j < HIDDEN)[None, :])
    to_frames = tl.dot(to_inner, tl.trans(w1)).to(frames.dtype)
    tl.store(to_x + of_x, to_frames, mask=there & (i < IN)[None, :])


def _sizes(inner: Tensor, outer: Tensor) -> tuple[int, ...]:
    """Heads, the three widths of a block, and these padded to what a product of Triton's takes."""
    (heads, width, hidden), out = inner.shape, outer.size(2)
    return heads, width, hidden, out, *(max(16, triton.next_power_of_2(size)) for size in (width, hidden, out))


def forward(x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, activation: str) -> Tensor:
    """``block_mlp`` of contiguous tensors: (B, T, D) -> (B, T, L)."""
    sizes, num_rows = _sizes(inner, outer), x.size(0) * x.size(1)
    y = x.new_empty(*x.shape[:2], outer_bias.numel())
    with torch.cuda.device_of(x):
        _forward[triton.cdiv(num_rows, ROWS), sizes[0]](
            x, inner, inner_bias, outer, outer_bias, y, num_rows, *sizes, NAME=activation, ROWS=ROWS, num_warps=4
        )  # fmt: skip
    return y


def backward(
    x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, gradient: Tensor, activation: str
) -> tuple[Tensor, ...]:
    """What the gradients of ``block_mlp`` are made of, from that of its result (B, T, L) in any layout.

    Returns:
        gradient of ``x`` (B, T, D); of the biases, for each program, float32 (programs, heads * (hidden + out)); the
        values between the layers (B, T, heads * hidden); gradients before the activations (B, T, heads * hidden),
        (B, T, L).
    """
    sizes, num_rows = _sizes(inner, outer), x.size(0) * x.size(1)
    num_steps = triton.cdiv(num_rows, ROWS)
    hidden = x.new_empty(*x.shape[:2], inner_bias.numel())
    to_z1, to_z2 = torch.empty_like(hidden), x.new_empty(*x.shape[:2], outer_bias.numel())
    to_x = torch.empty_like(x)
    to_biases = x.new_empty(num_steps, inner_bias.numel() + outer_bias.numel(), dtype=torch.float32)
    with torch.cuda.device_of(x):
        _backward[num_steps, sizes[0]](
            x, inner, inner_bias, outer, outer_bias, gradient, hidden, to_z1, to_z2, to_x, to_biases,
            num_rows, x.size(1), *gradient.stride(), *sizes, NAME=activation, ROWS=ROWS, num_warps=4,
        )  # fmt: skip
    return to_x, to_biases, hidden, to_z1, to_z2
