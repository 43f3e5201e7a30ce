"""Dropout whose random bits are cheap on a CPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# One draw of 64 random bits decides for this many elements, 16 bits each.
ELEMENTS_PER_DRAW = 4


def dropped_of_65536(p: float) -> int:
    """Of 65,536 elements how many a dropout of ``p`` drops: 16 bits per element round it by less than 1e-5."""
    return round(p * 2**16)


def scale_of_kept(p: float) -> float:
    """What undoes a dropout of ``p``, as rounded, so that the expectation stays exactly: 0 where all is dropped."""
    num_dropped = dropped_of_65536(p)
    return 2**16 / (2**16 - num_dropped) if num_dropped < 2**16 else 0.0


def draw_keep_mask(shape: Sequence[int], p: float) -> Tensor:
    """Bool of a shape on the CPU, False with probability ``p`` rounded to 1 / 65,536.

    Drawn from torch's generator, whose own Bernoulli spends 32 bits and a float on every element: 7 times the time.
    """
    numel = math.prod(shape)
    bits = torch.empty(-(-numel // ELEMENTS_PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
    bits = bits.view(torch.int16)[:numel].view(shape)  # uniform over -32,768 to 32,767
    return bits >= dropped_of_65536(p) - 2**15


class _MaskedScale(torch.autograd.Function):
    """x * keep / (1 - p). Stores one byte an element, where torch's CPU dropout stores a float."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        keep = keep.view(torch.int8)  # multiplying by int8 is vectorised, by bool it is not
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return (x * keep).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return (grad * keep).mul_(ctx.scale), None, None


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014): torch's on a GPU, a cheaper draw of the same law on a CPU.

    Args:
        p: probability of an element to become zero; the others are scaled by 1 / (1 - p).
        fast: False: torch's dropout everywhere.

    Raises:
        ValueError: for ``p`` outside 0 to 1.
    """

    def __init__(self, p: float, fast: bool = True):
        super().__init__()
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"dropout={p}: must be a probability, 0 to 1")
        self.p = p
        self.fast = fast

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """Any shape and floating dtype -> the same."""
        if not self.training or self.p == 0.0:
            return x
        num_dropped = dropped_of_65536(self.p)
        if not self.fast or x.device.type != "cpu" or torch.compiler.is_compiling() or num_dropped in (0, 2**16):
            return F.dropout(x, self.p)
        return _MaskedScale.apply(x, draw_keep_mask(x.shape, self.p), scale_of_kept(self.p))
