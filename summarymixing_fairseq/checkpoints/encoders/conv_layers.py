"""``conv_feature_layers`` of fairseq's configurations: an expression that fairseq would ``eval``, read without running.

It says (channels, kernel size, stride) of each convolution: ``[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] * 2``.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any, Union

from ...system.errors import InputError

ConvLayer = tuple[int, int, int]
Value = Union[int, list, tuple]

MAX_CHARACTERS = 2_000
MAX_LAYERS = 64
MAX_NUMBER = 65_536


def parse_conv_layers(expression: str) -> list[ConvLayer]:
    """Read an expression of lists, tuples, whole numbers, ``+`` and ``*``; nothing in it is run.

    Returns:
        (channels, kernel size, stride) of each convolution.

    Raises:
        InputError: for anything else, and for more or larger than a feature extractor can have.
    """
    if not isinstance(expression, str) or len(expression) > MAX_CHARACTERS:
        raise _refusal(expression)
    try:
        value = _evaluate(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise _refusal(expression) from None
    return check_conv_layers(value, expression)


def check_conv_layers(layers: Any, shown: Any = None) -> list[ConvLayer]:
    """The same of a list of three numbers each.

    Raises:
        InputError: naming ``shown`` (by default ``layers``).
    """
    shown = layers if shown is None else shown
    if not isinstance(layers, (list, tuple)) or not 1 <= len(layers) <= MAX_LAYERS:
        raise _refusal(shown)
    for layer in layers:
        if not isinstance(layer, (list, tuple)) or len(layer) != 3 or not all(_is_size(number) for number in layer):
            raise _refusal(shown)
    return [(channels, kernel_size, stride) for channels, kernel_size, stride in layers]


def _is_size(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 1 <= number <= MAX_NUMBER


def _refusal(shown: Any) -> InputError:
    return InputError(
        f"conv_feature_layers={str(shown)[:80]!r}: a list of (channels, kernel size, stride), at most {MAX_LAYERS} of "
        f"them, each number 1 to {MAX_NUMBER}, is needed; nothing else in a checkpoint's expression is run"
    )


def _evaluate(node: ast.AST) -> Value:
    """Raises ValueError for what is not allowed, before it could grow large."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        value: Value = node.value
    elif isinstance(node, (ast.List, ast.Tuple)):
        items = [_evaluate(item) for item in node.elts]
        value = items if isinstance(node, ast.List) else tuple(items)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Add):
            value = left + right  # type: ignore[operator]  # TypeError for two kinds is a refusal too
        else:
            if _length(left) * _length(right) > MAX_NUMBER:
                raise ValueError("too large")
            value = left * right  # type: ignore[operator]
    else:
        raise ValueError("not allowed")
    if isinstance(value, int):
        if not 0 <= value <= MAX_NUMBER:
            raise ValueError("too large")
    elif len(value) > MAX_LAYERS:
        raise ValueError("too many")
    return value


def _length(value: Value) -> int:
    return value if isinstance(value, int) else len(value)


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
