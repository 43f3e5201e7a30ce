"""Frames that stay in half precision under autocast, alike on every device, and weights that are cast together.

CUDA's autocast computes LayerNorm in float32, a CPU's in the dtype of the frames. Left to it, frames would go up to
float32 at each norm of a GPU, and down again for the next matrix product. It also casts each weight in a kernel of its
own, which for a layer's forty weights are as many kernels as all else in the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .kernels.recompute import made_again, remember

# Casts of the weights of the layer that runs, by the weight's id.
_casts: ContextVar[Mapping[int, Tensor]] = ContextVar("casts", default=MappingProxyType({}))


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of autocast's matrix products on the device of ``x``; None where autocast is off."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class _CastTogether(torch.autograd.Function):
    """Tensors in another dtype, by one kernel for all of them; their gradients likewise."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtypes = [weight.dtype for weight in weights]
        casts = tuple(torch.empty_like(weight, dtype=dtype) for weight in weights)
        torch._foreach_copy_(casts, weights)
        return casts

    @staticmethod
    @once_differentiable  # a copy into many tensors has no second derivative: an error says so
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [gradient for gradient in gradients if gradient is not None]
        dtypes = [dtype for gradient, dtype in zip(gradients, ctx.dtypes) if gradient is not None]
        casts = [torch.empty_like(gradient, dtype=dtype) for gradient, dtype in zip(given, dtypes)]
        if given:
            torch._foreach_copy_(casts, given)
        in_turn = iter(casts)
        return None, *(None if gradient is None else next(in_turn) for gradient in gradients)


@contextmanager
def weights_cast(module: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Cast the weights of a module together; ``cast`` finds them while the context lasts.

    Args:
        dtype: None: nothing is cast. Nor is it by a compiler, which makes kernels of its own.
    """
    weights = [] if dtype is None or torch.compiler.is_compiling() else list(module.parameters())
    weights = [weight for weight in weights if weight.dtype != dtype]
    if not weights:
        yield
        return
    casts = _CastTogether.apply(dtype, *weights)
    for weight, in_dtype in zip(weights, casts):
        if weight.dim() > 1:  # a vector takes no memory, and a kernel to be cast again
            remember(in_dtype, partial(torch.Tensor.to, dtype=dtype), weight)
    token = _casts.set(dict(zip(map(id, weights), casts)))
    try:
        yield
    finally:
        _casts.reset(token)


def cast(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in a dtype: as ``weights_cast`` made it, or by a cast of its own, as in the backward pass."""
    if weight.dtype == dtype:
        return weight
    there = None if torch.compiler.is_compiling() else _casts.get().get(id(weight))
    return weight.to(dtype) if there is None or there.dtype != dtype else there


def at_least_float32(x: Tensor) -> Tensor:
    """In float32, or float64 if ``x`` is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class Linear(nn.Linear):
    """Linear layer in the dtype of its input, or in that of autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, cast(self.weight, x.dtype), cast(self.bias, x.dtype))


class LayerNorm(nn.LayerNorm):
    """LayerNorm in the dtype of its input, under autocast too. Mean and variance are float32 in any case."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D) in the dtype of ``x``."""
        return made_again(self._norm, x, cast(self.weight, x.dtype), cast(self.bias, x.dtype))

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
