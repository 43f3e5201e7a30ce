"""Strings of a configuration that are expressions of literals: read without running any code."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

MAX_CHARACTERS = 4_000
# A number counts as at most this and 1 where sizes are added up, so that sums stay small. ``max_size`` is the limit.
LARGEST_COUNTED = 2**31
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def evaluate(expression: str, max_size: int) -> Any:
    """The value of an expression of literals; nothing in it is run.

    Args:
        max_size: bound of all its numbers and items together, repeated ones included.

    Raises:
        ValueError: for anything else, or a larger one.
    """
    node = _parse(expression.strip()[: MAX_CHARACTERS + 1])
    if len(expression) > MAX_CHARACTERS or _size(node) > max_size:
        raise ValueError("too large")
    try:
        return _value(node)
    except TypeError:  # a list and a number added
        raise ValueError("not a literal") from None


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("not a literal") from None


def _size(node: ast.AST) -> int:
    """Bound of a number or of the items that an expression makes. Raises ValueError for what is no literal."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return min(abs(node.value), LARGEST_COUNTED + 1)
        return 1
    if isinstance(node, (ast.List, ast.Tuple)):
        return 1 + sum(map(_size, node.elts))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _size(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _size(node.left) * _size(node.right)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _size(node.left) + _size(node.right)
    raise ValueError("not a literal")


def _value(node: Any) -> Any:
    """The value of what ``_size`` has looked through."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp):
        return _SIGNS[type(node.op)](_value(node.operand))
    return _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
