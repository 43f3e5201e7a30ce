"""Two block-diagonal layers with the activation after both, as one kernel on a GPU.

torch's own operations are eleven kernels forward and twenty backward, most of which only read and write frames. The one
here reads frames as they lie in memory, (B, T, D), keeps what is between the layers in registers, and computes it again
in the backward pass.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Widest block whose two matrices fit into a multiprocessor's shared memory beside the frames, on the GPUs (by compute
# capability: A100, H100 and H200, B200, B300) whose blocks may have 160 kB of it. Others have 99 kB.
MAX_BLOCK = 128
WITH_MEMORY = ((8, 0), (9, 0), (10, 0), (10, 3))
HALF = (torch.bfloat16, torch.float16)


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    """torch brings it along for GPUs only."""
    return importlib.util.find_spec("triton") is not None


def is_fused(x: Tensor, *widths: int) -> bool:
    """Whether ``block_mlp`` takes these frames, in blocks of these widths; "meta" tensors count as a GPU's.

    It does in half precision, and leaves a compiler to make kernels of its own.
    """
    if x.dtype not in HALF or max(widths) > MAX_BLOCK or torch.compiler.is_compiling():
        return False
    return x.is_meta or (x.is_cuda and torch.cuda.get_device_capability(x.device) in WITH_MEMORY and _has_triton())


def block_mlp(
    x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, activation: str
) -> Tensor:
    """activation(activation(x inner + inner_bias) outer + outer_bias), head by head. All in one dtype.

    Args:
        x: (B, T, heads * in); inner: (heads, in, hidden); inner_bias: (heads * hidden,); outer: (heads, hidden, out);
            outer_bias: (heads * out,).
        activation: "gelu", "relu", "swish" or "none".

    Returns:
        (B, T, heads * out).
    """
    weights = (weight.contiguous() for weight in (inner, inner_bias, outer, outer_bias))
    result: Tensor = _BlockMlp.apply(x.contiguous(), *weights, activation)
    return result


class _BlockMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights_and_activation: Any) -> Tensor:
        *weights, ctx.activation = weights_and_activation
        ctx.save_for_backward(x, *weights)
        return _forward(x, *weights, ctx.activation)

    @staticmethod
    @once_differentiable  # the backward kernel has no derivative of its own: an error says so
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, inner, inner_bias, outer, outer_bias = ctx.saved_tensors
        # The matrices' gradients are sums over all frames. Kept in the kernel's registers they took most of its time
        # (0.79 ms for 24 x 746 frames of 768 channels on an H200): here they are products of what the kernel gives.
        to_x, to_biases, hidden, to_z1, to_z2 = _backward(
            x, inner, inner_bias, outer, outer_bias, gradient, ctx.activation
        )
        frames, hidden, to_z1, to_z2 = (_by_head(part, inner.size(0)) for part in (x, hidden, to_z1, to_z2))
        to_inner, to_outer = torch.bmm(frames.transpose(1, 2), to_z1), torch.bmm(hidden.transpose(1, 2), to_z2)
        sizes = [inner_bias.numel(), outer_bias.numel()]
        to_inner_bias, to_outer_bias = to_biases.sum(0).to(x.dtype).split(sizes)
        return to_x, to_inner, to_inner_bias, to_outer, to_outer_bias, None


def _by_head(x: Tensor, num_heads: int) -> Tensor:
    """(B, T, heads * L) -> (heads, B * T, L), a view."""
    return x.view(-1, num_heads, x.size(-1) // num_heads).transpose(0, 1)


def _forward(x: Tensor, *rest: Any) -> Tensor:
    if x.is_meta:
        result: Tensor = torch.ops.summarymixing.block_mlp(x, *rest)
        return result
    from .block_mlp_kernels import forward  # takes a second, and Triton

    return forward(x, *rest)


def _backward(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    if x.is_meta:
        result: tuple[Tensor, ...] = torch.ops.summarymixing.block_mlp_backward(x, *rest)
        return result
    from .block_mlp_kernels import backward

    return backward(x, *rest)


def _forward_on_meta(x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, _: str) -> Tensor:
    return x.new_empty(*x.shape[:2], outer_bias.numel())


def _backward_on_meta(
    x: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor, outer_bias: Tensor, gradient: Tensor, _: str
) -> tuple[Tensor, ...]:
    hidden, out = (x.new_empty(*x.shape[:2], bias.numel()) for bias in (inner_bias, outer_bias))
    biases = x.new_empty(1, inner_bias.numel() + outer_bias.numel(), dtype=torch.float32)
    return torch.empty_like(x), biases, hidden, torch.empty_like(hidden), out


# For tensors on "meta", shapes alone, they are operators of torch, by which `benchmark layer` counts them. Real tensors
# go without, as to find an operator costs a host time at every call.
_library = torch.library.Library("summarymixing", "DEF")
_WEIGHTS = "Tensor x, Tensor inner, Tensor inner_bias, Tensor outer, Tensor outer_bias"
_library.define(f"block_mlp({_WEIGHTS}, str activation) -> Tensor")
_library.define(
    f"block_mlp_backward({_WEIGHTS}, Tensor gradient, str activation) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.impl("block_mlp", _forward_on_meta, "Meta")
_library.impl("block_mlp_backward", _backward_on_meta, "Meta")
