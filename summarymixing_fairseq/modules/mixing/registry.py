"""Mixers by name. To add one: a file here whose class is decorated, and its import in this folder's __init__."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

MIXERS: dict[str, type[nn.Module]] = {}

MixerClass = TypeVar("MixerClass", bound=type[nn.Module])


def register_mixer(name: str) -> Callable[[MixerClass], MixerClass]:
    """Class decorator. The class takes ``embed_dim``, ``num_heads``, ``dropout`` and options of its own."""

    def register(mixer_class: MixerClass) -> MixerClass:
        MIXERS[name] = mixer_class
        return mixer_class

    return register


def build_mixer(name: str, *, embed_dim: int, num_heads: int, dropout: float, **options: Any) -> nn.Module:
    """Build the mixer registered as ``name``.

    Raises:
        ValueError: for a name that is not registered, or sizes that the mixer refuses.
    """
    if name not in MIXERS:
        raise ValueError(f"mixer={name!r} is unknown: choose one of {', '.join(sorted(MIXERS))}")
    return MIXERS[name](embed_dim=embed_dim, num_heads=num_heads, dropout=dropout, **options)
