"""Heads on an encoder's features: one architecture a file, behind one interface (``ProbeHead``) and one registry.

A head takes (B, T, D) features and a (B, T) bool padding mask (True = padding) or None. A padded frame never changes a
valid one, whatever it holds. A new head is a new file in this folder, with a class decorated by ``register_head``.
"""

from __future__ import annotations

import inspect
from typing import Any

from ...system.errors import InputError
from ...system.plugins import modules_of
from .head import HEADS, EmbeddingHead, ProbeHead, register_head

modules_of(__name__, __path__)

__all__ = ["HEADS", "EmbeddingHead", "ProbeHead", "build_head", "register_head"]


def build_head(name: str, input_dim: int, num_classes: int, **options: Any) -> ProbeHead:
    """Build the head called ``name``.

    Args:
        input_dim: D of the features; num_classes: symbols with the blank, classes or speakers.
        options: keyword arguments of the head's class.

    Raises:
        InputError: for an unknown name, an option that the head does not have or that is of another type than its
            default, or a size that the head refuses.
    """
    if name not in HEADS:
        raise InputError(f"head={name!r} is unknown: choose one of {', '.join(HEADS)}")
    parameters = inspect.signature(HEADS[name]).parameters.values()
    defaults = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    for option, value in options.items():
        if option not in defaults:
            raise InputError(f"head {name} has no option {option!r}: it has {', '.join(defaults) or 'none'}")
        expected = type(defaults[option])
        if type(value) is not expected and not (expected is float and type(value) is int):
            raise InputError(f"head {name}: {option}={value!r} must be of type {expected.__name__}")
    return HEADS[name](input_dim, num_classes, **options)
