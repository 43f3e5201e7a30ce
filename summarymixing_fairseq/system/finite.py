"""Tensors in containers, and whether they hold finite numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import InputError


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors of nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors_in(item)


def is_finite(tensor: Tensor) -> bool:
    """Whether all numbers of a tensor, of any dtype and shape, are finite."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    # a sum is one pass without a copy, and finite where all numbers are, but for absurd ones
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raises InputError for a weight that is NaN or infinite: whatever it is used for would be, too."""
    for name, weight in weights.items():
        if isinstance(weight, Tensor) and not is_finite(weight):
            raise InputError(f"{path}: weight {name} is not finite: did its training diverge?")
