"""Whether tensors hold finite numbers only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .errors import InputError


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
