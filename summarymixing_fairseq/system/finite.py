"""Whether tensors, also in nested containers, hold finite numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import InputError


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested dictionaries, lists and tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor, of any dtype and shape, are finite."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    # The sum is fast and needs no copy. If it is finite, all numbers are; it may overflow though all are finite.
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises InputError, naming the weight, if one holds NaN or infinity."""
    for name, weight in weights.items():
        if isinstance(weight, Tensor) and not is_finite(weight):
            raise InputError(f"{path}: weight {name} is not finite: did its training diverge?")
