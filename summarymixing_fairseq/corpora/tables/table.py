"""A list of recordings in any form: named columns, and rows whose cells are text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...system.errors import InputError


@dataclass(frozen=True)
class Row:
    """One row: its place, for messages, and its cells by column. A column that it lacks is empty."""

    where: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Columns in their order, rows, and the folder that relative paths of audio count from."""

    columns: Sequence[str]
    rows: Sequence[Row]
    folder: Path


def read_text(path: Path) -> str:
    """Content of a text file, its ends of lines as they are.

    Raises:
        InputError: for a file that cannot be read or is not UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
