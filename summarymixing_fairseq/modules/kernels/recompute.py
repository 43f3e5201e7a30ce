"""Linear maps of something cheap, which is computed again in the backward pass rather than kept.

Autograd keeps the input of every linear map for the gradient of its weights. Where that input is a norm, an activation
or a dropout of something that is kept anyway, it costs memory for the width of the layer at every frame, and next to
nothing to compute again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Grads = tuple  # of the input, the weight and the bias (None where there is none)


class Product(Protocol):
    """A map y = forward(z, weight, bias), linear in z and in weight, and its gradients."""

    @staticmethod
    def forward(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """y."""

    @staticmethod
    def backward(grad: Tensor, z: Tensor, weight: Tensor) -> Grads:
        """Gradients of z, weight and bias for the gradient of y."""


class Linear:
    """``F.linear``: (..., I), (O, I), (O,) -> (..., O)."""

    @staticmethod
    def forward(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """As the class says."""
        return F.linear(z, weight, bias)

    @staticmethod
    def backward(grad: Tensor, z: Tensor, weight: Tensor) -> Grads:
        """As ``Product.backward``."""
        rows = grad.flatten(0, -2)  # (..., O) -> (N, O)
        return grad @ weight, rows.t() @ z.flatten(0, -2), rows.sum(0)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        product: Product,
        cheap: Callable[..., Tensor],
        weight: Tensor,
        bias: Tensor | None,
        *inputs: Tensor | None,
    ) -> Tensor:
        ctx.product, ctx.cheap = product, cheap
        ctx.autocast_dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None
        ctx.save_for_backward(weight, *inputs)
        return product.forward(cheap(*inputs).to(weight.dtype), weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, *inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        inputs = [x if x is None else x.detach().requires_grad_(need) for x, need in zip(inputs, needed)]
        enabled = ctx.autocast_dtype is not None
        with torch.enable_grad(), torch.autocast("cpu", ctx.autocast_dtype, enabled=enabled):
            z = ctx.cheap(*inputs)
        with torch.autocast("cpu", enabled=False):
            grad_z, grad_weight, grad_bias = ctx.product.backward(grad, z.detach().to(weight.dtype), weight)
            wanted = [x for x, need in zip(inputs, needed) if need]
            grads = iter(torch.autograd.grad(z, wanted, grad_z.to(z.dtype)) if wanted else ())
        return (
            None,
            None,
            grad_weight,
            grad_bias if ctx.needs_input_grad[3] else None,
            *(next(grads) if need else None for need in needed),
        )


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What ``nn.LayerNorm`` with these parameters does over the last axis."""
    return F.layer_norm(x, weight.shape, weight, bias)


def recomputes(x: Tensor) -> bool:
    """Whether recomputing pays: with gradients, on a CPU, where nothing is being compiled."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def of_cheap(
    product: Product, cheap: Callable[..., Tensor], weight: Tensor, bias: Tensor | None, *inputs: Tensor | None
) -> Tensor:
    """``product(cheap(*inputs), weight, bias)``, where cheap(*inputs) is not kept for the backward pass.

    Args:
        cheap: draws nothing at random; whatever it needs a gradient for is among its inputs.
    """
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
    return _Recomputed.apply(product, cheap, weight, bias, *inputs)
