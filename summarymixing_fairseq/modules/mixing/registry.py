"""Mixers by name. A mixer is one file of this folder: its class, its options, and ``register_mixer``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

MIXERS: dict[str, type[nn.Module]] = {}
OPTIONS: dict[str, type[MixerOptions]] = {}

MixerClass = TypeVar("MixerClass", bound=type[nn.Module])


@dataclass
class MixerOptions:
    """Base of a mixer's options. Each is a field made by ``system.options.option``; the mixer's class takes them as
    keyword arguments."""

    def streams(self) -> bool:
        """Whether the mixer reads clips chunk by chunk too, with ``first_state`` and ``step`` as ``ChunkedAttention``.

        Its ``forward`` then takes ``chunks``.
        """
        return False

    def check(self, embed_dim: int) -> None:
        """Check what concerns several options, or the width D.

        Raises:
            Refused: naming the option.
        """

    def num_weights(self, embed_dim: int) -> int:
        """Entries of all weight matrices of the mixer at a width D, without biases and norms."""
        raise NotImplementedError


def register_mixer(name: str, options: type[MixerOptions]) -> Callable[[MixerClass], MixerClass]:
    """Class decorator. The class takes ``embed_dim`` (D), ``dropout`` and the fields of ``options`` by keyword.

    ``model.init=torch`` calls ``reset_parameters`` of each module in it that has one, as torch's layers do.
    """

    def register(mixer_class: MixerClass) -> MixerClass:
        MIXERS[name], OPTIONS[name] = mixer_class, options
        return mixer_class

    return register


def build_mixer(name: str, *, embed_dim: int, dropout: float, **options: Any) -> nn.Module:
    """Build the mixer registered as ``name``.

    Raises:
        ValueError: for a name that is not registered, or sizes that the mixer refuses.
    """
    if name not in MIXERS:
        raise ValueError(f"mixer={name!r} is unknown: choose one of {', '.join(sorted(MIXERS))}")
    return MIXERS[name](embed_dim=embed_dim, dropout=dropout, **options)
