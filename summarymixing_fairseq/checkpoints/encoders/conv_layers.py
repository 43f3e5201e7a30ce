"""``conv_feature_layers`` of fairseq's configurations: an expression that fairseq would ``eval``, read without running.

It says (channels, kernel size, stride) of each convolution: ``[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from ...system.errors import InputError
from ...system.options import is_number

ConvLayer = tuple[int, int, int]

MAX_CHARACTERS = 4_000
MAX_LAYERS = 64
MAX_NUMBER = 65_536


def parse_conv_layers(expression: str) -> list[ConvLayer]:
    """Read lists with ``+`` between them, each perhaps with a ``* NUMBER`` behind; nothing in it is run.

    Returns:
        (channels, kernel size, stride) of each convolution.

    Raises:
        InputError: for anything else, and for more or larger than a feature extractor can have.
    """
    layers: list[Any] = []
    try:
        for part in expression.split("+") if len(expression) <= MAX_CHARACTERS else ():
            items, times = re.fullmatch(r"(.*[])])\s*(?:\*\s*(\d{1,2}))?", part.strip(), re.DOTALL).groups()  # type: ignore
            layers += ast.literal_eval(items) * int(times or 1)
    except (AttributeError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError):
        layers = []
    if not 1 <= len(layers) <= MAX_LAYERS or not all(map(_is_layer, layers)):
        raise InputError(
            f"conv_feature_layers={str(expression)[:80]!r}: a list of (channels, kernel size, stride), at most "
            f"{MAX_LAYERS} of them, each number 1 to {MAX_NUMBER}, is needed; nothing else in a checkpoint's "
            "expression is run"
        )
    return [(channels, kernel_size, stride) for channels, kernel_size, stride in layers]


def _is_layer(layer: Any) -> bool:
    if not isinstance(layer, (list, tuple)) or len(layer) != 3:
        return False
    return all(is_number(number, whole=True, low=1, high=MAX_NUMBER) for number in layer)


def conv_output_lengths(num_samples: Any, layers: Sequence[ConvLayer]) -> Any:
    """(B,) samples -> (B,) frames of convolutions without padding; 0 for a clip too short for one frame."""
    for _, kernel_size, stride in layers:
        num_samples = ((num_samples - kernel_size) // stride + 1).clamp(min=0)
    return num_samples


def conv_min_samples(num_frames: int, layers: Sequence[ConvLayer]) -> int:
    """Samples of the shortest clip that gives ``num_frames`` frames, at least 1."""
    for _, kernel_size, stride in reversed(layers):
        num_frames = (num_frames - 1) * stride + kernel_size
    return num_frames
