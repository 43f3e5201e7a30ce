"""What a SummaryMixing layer takes from its two branches, f and s: their strength, and what changes without them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def strength_of_summary(f: Tensor, s: Tensor, combiner: Tensor) -> float:
    """Share of the summary in what the combiner's activation hears: |W_s s| / (|W_f f| + |W_s s|), mean of the frames.

    Args:
        f: (T, F); s: (T, S); combiner: (D, F + S or more), W_c, whose first columns are W_f and whose next are W_s.
    """
    local = (f.double() @ combiner[:, : f.size(1)].double().T).norm(dim=1)
    summary = (s.double() @ combiner[:, f.size(1) : f.size(1) + s.size(1)].double().T).norm(dim=1)
    return float((summary / (local + summary)).mean())


def zero(output: Tensor) -> Tensor:
    """Nothing in the place of a branch."""
    return torch.zeros_like(output)


def of_another_clip(output: Tensor) -> Tensor:
    """Of each clip in the batch what the next one has: (B, ...)."""
    return output.roll(1, 0)


@contextmanager
def changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the block the output of a module is changed."""

    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        return change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
