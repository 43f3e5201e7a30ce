"""Whether a string of a configuration is an expression of literals: what a reader that evaluates it may be given."""

from __future__ import annotations

import ast
import re

MAX_CHARACTERS = 4_000
# A product repeats a list at most this often.
MAX_NUMBER = 2**31
_INTERPOLATION = re.compile(r"\$\{[^{}:]+\}")


def is_literal(expression: str) -> bool:
    """Whether it consists of numbers, strings, lists, tuples, ``+``, ``-`` and ``*``, and cannot grow large.

    A bare word counts, as it names nothing that could be called, and so does ``${model.field}``.
    """
    expression = expression.strip()
    if len(expression) > MAX_CHARACTERS:
        return False
    if not expression or expression.isidentifier() or _INTERPOLATION.fullmatch(expression):
        return True
    try:
        return _size(ast.parse(expression, mode="eval").body) <= MAX_NUMBER
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _size(node: ast.AST) -> int:
    """Bound of a number or of the items that an expression makes. Raises ValueError for what is no literal."""
    if isinstance(node, ast.Constant):
        is_count = isinstance(node.value, int) and not isinstance(node.value, bool)
        return min(abs(node.value), MAX_NUMBER + 1) if is_count else 1
    if isinstance(node, (ast.List, ast.Tuple)):
        return 1 + sum(_size(item) for item in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        return _size(node.operand)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return _size(node.left) + _size(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        return _size(node.left) * _size(node.right)
    raise ValueError("not a literal")
