"""Activation checkpointing of cheap operations (Chen et al. 2016, arXiv 1604.06174), and small dropout masks."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """``function(*inputs)``, storing only the inputs for the backward pass.

    The backward pass runs the function again, with the same random numbers, to get what autograd would have stored.
    torch stops this second run as soon as it has everything. If the last operation is a linear layer or a
    convolution, its input is the last tensor that is needed, so the expensive product is not computed twice.

    Outputs and gradients are bit for bit those of ``function(*inputs)``.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)  # the compiler decides itself what to recompute
    return checkpoint(function, *inputs, use_reentrant=False)


def draw_kept(x: Tensor, p: float) -> Tensor:
    """Draw what torch's dropout keeps of ``x`` on a CPU, with the same random numbers: bool of the same shape."""
    return torch.empty(x.shape, dtype=torch.bool).bernoulli_(1 - p)


def scale_of(kept: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """The factors of torch's dropout on a CPU: 1 / (1 - p) where an element is kept, 0 where not."""
    return kept.to(dtype).div_(1 - p)


def dropout_in_bytes(x: Tensor, dropout: nn.Dropout) -> Tensor:
    """``dropout(x)``, storing one byte an element for the backward pass on a CPU too, as torch does on a GPU."""
    p, dtype = dropout.p, x.dtype
    if x.device.type != "cpu" or not dropout.training or p in (0, 1) or torch.compiler.is_compiling():
        return dropout(x)
    with saved_tensors_hooks(lambda scale: scale.bool(), lambda kept: scale_of(kept, p, dtype)):
        return F.dropout(x, p)
