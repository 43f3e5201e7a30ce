"""Mixers by name. A mixer is one file of this folder: its class, its options, and ``register_mixer``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import nn

from ...system.options import check_choice, read_options

MIXERS: dict[str, type[nn.Module]] = {}
OPTIONS: dict[str, type[MixerOptions]] = {}

MixerClass = TypeVar("MixerClass", bound=type[nn.Module])


@dataclass
class MixerOptions:
    """Base of a mixer's options. Each is a field made by ``system.options.option``."""

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


def register_mixer(name: str, options: type[MixerOptions]) -> Callable[[MixerClass], MixerClass]:
    """Class decorator. The class takes ``options``, which have been checked, ``embed_dim`` (D) and ``dropout``.

    ``model.init=torch`` calls ``reset_parameters`` of each module in it that has one, as torch's layers do.
    """

    def register(mixer_class: MixerClass) -> MixerClass:
        MIXERS[name], OPTIONS[name] = mixer_class, options
        return mixer_class

    return register


def build_mixer(name: str, *, embed_dim: int, dropout: float, **options: Any) -> nn.Module:
    """Build the mixer registered as ``name``.

    Raises:
        ValueError: for a name that is not registered, or an option that the mixer refuses.
    """
    check_choice("mixer", name, sorted(MIXERS))
    read = read_options(OPTIONS[name], options, f"mixer={name}")
    read.check(embed_dim)
    return MIXERS[name](read, embed_dim, dropout)
