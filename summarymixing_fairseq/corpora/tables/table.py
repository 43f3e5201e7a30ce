"""A list of recordings in any form: named columns, and rows whose cells are text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


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
