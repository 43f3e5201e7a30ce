"""fairseq's dictionary files: one SYMBOL COUNT a line."""

from __future__ import annotations

from pathlib import Path

from fairseq.data import Dictionary

from ..system.errors import InputError


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
    try:
        with open(path, encoding="utf-8") as file:
            return Dictionary.load(file, add_special_symbols=add_special_symbols)
    except UnicodeDecodeError:
        raise InputError(f"dictionary {path} is not UTF-8 text") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = next(iter((getattr(error, "strerror", None) or str(error)).splitlines()), "")
        raise InputError(f"dictionary {path} cannot be read: {reason.split('. ')[0][:200]}") from None
