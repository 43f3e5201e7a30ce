"""fairseq's dictionary files: one SYMBOL COUNT a line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from fairseq.data import Dictionary

from ..system.errors import InputError
from ..system.files import read_text

WORDS = ("bos_word", "eos_word", "pad_word", "unk_word")
# a dictionary of classes has no special symbols, and so none of these
INDICES = ("bos_index", "eos_index", "pad_index", "unk_index", "nspecial")


def check_fields(fields: dict[str, Any]) -> None:
    """Look through the attributes of a dictionary that comes out of a file.

    Raises:
        ValueError: for one that is missing, of another type, or does not fit the others.
    """
    symbols: Any = fields.get("symbols")
    count: Any = fields.get("count")
    indices: Any = fields.get("indices")
    for name, values, kind in (("symbols", symbols, str), ("count", count, int)):
        if type(values) is not list or any(type(value) is not kind for value in values):
            raise ValueError(f"{name} is no list of {kind.__name__}")
    if len(symbols) != len(count) or type(indices) is not dict or set(indices) != set(symbols):
        raise ValueError("symbols, count and indices differ")
    places = indices.values()
    if any(type(at) is not int or not 0 <= at < len(symbols) for at in places) or any(
        symbols[at] != symbol for symbol, at in indices.items()
    ):
        raise ValueError("indices are not those of symbols")
    for names, kind in ((WORDS, str), (INDICES, int)):
        for name in names:
            if name in fields and type(fields[name]) is not kind:
                raise ValueError(f"{name} is no {kind.__name__}")


def difference(dictionary: Dictionary, expected: Dictionary) -> str:
    """How a dictionary differs from another one: in its size, or the first symbol that is another, in words."""
    if len(dictionary) != len(expected):
        return f"it has {len(dictionary)} symbols, not {len(expected)}"
    pairs = enumerate(zip(dictionary.symbols, expected.symbols))
    position, (symbol, wanted) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
    return f"symbol {position} is {symbol[:40]!r}, not {wanted[:40]!r}"


def load_dictionary(path: Path, add_special_symbols: bool = True) -> Dictionary:
    """Read a dictionary.

    Args:
        path: of the file; add_special_symbols: put fairseq's four (<s>, <pad>, </s>, <unk>) before its symbols.

    Raises:
        InputError: for a file that is missing, not text, or has a malformed line or a symbol twice.
    """
    text = read_text(path, "dictionary")
    try:
        return Dictionary.load(io.StringIO(text), add_special_symbols=add_special_symbols)
    except (RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(f"dictionary {path} cannot be read: {reason.split('. ')[0][:200]}") from None
