"""Copies between the host and a GPU at which the host does not wait for the GPU, or waits once for many numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on ``device``. To a GPU it goes from pinned memory, and the host does not wait for the copy."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def read_numbers(outputs: Iterable[dict[str, Any]]) -> None:
    """Put Python's numbers in the place of the tensors of one number in dictionaries, with one copy a device."""
    places: dict[torch.device, list[tuple[dict[str, Any], str]]] = {}
    for output in outputs:
        for name, value in output.items():
            if isinstance(value, Tensor) and value.dim() == 0:
                places.setdefault(value.device, []).append((output, name))
    for found in places.values():
        # float64 holds every number of a smaller dtype, and counts up to 2^53
        numbers = torch.stack([output[name].detach().double() for output, name in found]).tolist()
        for (output, name), number in zip(found, numbers):
            output[name] = number if output[name].is_floating_point() else int(number)
