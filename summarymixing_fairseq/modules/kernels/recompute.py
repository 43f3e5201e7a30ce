"""Activation checkpointing of cheap operations (Chen et al. 2016, arXiv 1604.06174)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recompute(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """``function(*inputs)``, keeping only the inputs for the backward pass.

    The backward pass runs the function again, with the same random numbers, to get back what autograd would have
    kept. torch stops this second run as soon as it has everything. If the last operation is a linear layer or a
    convolution, its input is the last tensor that is needed, so the expensive product is not computed twice.

    Outputs and gradients are bit for bit those of ``function(*inputs)``.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)  # the compiler decides itself what to recompute
    return checkpoint(function, *inputs, use_reentrant=False)
