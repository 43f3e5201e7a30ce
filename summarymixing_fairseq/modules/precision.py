"""Frames that stay in half precision under autocast, alike on every device, and weights that are cast together.

CUDA's autocast computes LayerNorm in float32, a CPU's in the dtype of the frames. Left to it, frames would go up to
float32 at each norm of a GPU, and down again for the next matrix product. It also casts each weight in a kernel of its
own, which for a layer's forty weights are as many kernels as all else in the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._utils import _unflatten_dense_tensors
from torch.autograd.function import once_differentiable

from .kernels.recompute import made_again, remember

# Casts of the weights of the layer that runs, by the weight's id.
_casts: ContextVar[Mapping[int, Tensor]] = ContextVar("casts", default=MappingProxyType({}))


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of autocast's matrix products on the device of ``x``; None where autocast is off."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def _in_one(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The tensors in a dtype one after the other, (N,), and as views of that: one allocation, one kernel."""
    flat = tensors[0].new_empty(sum(tensor.numel() for tensor in tensors), dtype=dtype)
    views: tuple[Tensor, ...] = _unflatten_dense_tensors(flat, tensors)
    torch._foreach_copy_(views, list(tensors))
    return flat, views


class _CastTogether(torch.autograd.Function):
    """Tensors in another dtype, and their gradients back in their own, which all share."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtype = weights[0].dtype
        return _in_one(weights, dtype)[1]

    @staticmethod
    @once_differentiable  # a copy into many tensors has no second derivative: an error says so
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [gradient for gradient in gradients if gradient is not None]
        casts = iter(_in_one(given, ctx.dtype)[1] if given else ())
        return None, *(None if gradient is None else next(casts) for gradient in gradients)


def _weights_of(module: nn.Module) -> Iterator[Tensor]:
    """As ``module.parameters()``, which takes a host longer than all casts: it makes names."""
    yield from (weight for weight in module._parameters.values() if weight is not None)
    for part in module._modules.values():
        if part is not None:
            yield from _weights_of(part)


def _breaks_alignment(weight: Tensor) -> bool:
    """Whether what lies behind it would not begin at a multiple of 16 bytes."""
    return weight.numel() % 8 != 0


@contextmanager
def weights_cast(module: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Cast the weights of a module together; ``cast`` finds them while the context lasts.

    Args:
        dtype: None: nothing is cast. Nor is it by a compiler, which makes kernels of its own.
    """
    found = () if dtype is None or torch.compiler.is_compiling() else _weights_of(module)
    weights = list({id(weight): weight for weight in found if weight.dtype == torch.float32}.values())
    if dtype is None or not weights:
        yield
        return
    # a matrix whose memory begins at a multiple of 16 bytes is read faster: what would spoil that comes last
    weights.sort(key=_breaks_alignment)
    casts = _CastTogether.apply(dtype, *weights)
    remember(casts[0], lambda *weights: _in_one(weights, dtype)[0], *weights)  # and all others: views of one
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
