"""Tables of one row a line: CSV, TSV, and LJSpeech's `id|text|normalised text`.

CSV has commas or semicolons and quotation marks as spreadsheets write them. In the others a quotation mark is a
character like any other.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

from ...system.errors import InputError
from ...system.files import read_text
from ..writing.rows import Refusal
from .table import Row, Table

# Columns of LJSpeech, whose file has no line of names, and the folder of its audio.
_LJSPEECH = ("id", "text", "normalised")
_LJSPEECH_AUDIO = "wavs"


def read_delimited(path: Path, is_header: Callable[[list[str]], bool], refusals: list[Refusal]) -> Table:
    """Read a table; rows with more or fewer cells than columns are added to `refusals`.

    Args:
        is_header: whether the first line of a file with bars (|) names columns; otherwise it is LJSpeech's.

    Raises:
        InputError: for a file that cannot be read, is empty, no CSV, or names a column twice.
    """
    text = read_text(path, newline="")
    first_line = text.partition("\n")[0]
    if path.suffix.lower() == ".tsv":
        delimiter = "\t"
    elif "|" in first_line:
        delimiter = "|"
    else:
        delimiter = max(",;\t", key=first_line.count)
    lines = _quoted(path, text, delimiter) if delimiter in ",;" else _plain(text, delimiter)
    first = next(lines, None)
    if first is None:
        raise InputError(f"{path} is empty: a table with a line of column names is needed")
    number, columns = first[0], [name.strip() for name in first[1]]
    rows: list[Row] = []
    folder = path.parent
    if delimiter == "|" and not is_header(columns):
        if not 2 <= len(columns) <= len(_LJSPEECH):
            raise InputError(f"{path}, line {number}: {len(columns)} cells, LJSpeech's id|text|normalised has 2 or 3")
        columns = list(_LJSPEECH[: len(columns)])
        folder = folder / _LJSPEECH_AUDIO if (folder / _LJSPEECH_AUDIO).is_dir() else folder
        rows.append(Row(f"{path.name} line {number}", dict(zip(columns, map(str.strip, first[1])))))
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise InputError(f"{path}: column {twice[0]} is twice in its first line: rename one")
    for number, cells in lines:
        where = f"{path.name} line {number}"
        if len(cells) != len(columns):
            refusals.append(Refusal(where, "line with another number of cells than the table has columns"))
        else:
            rows.append(Row(where, dict(zip(columns, map(str.strip, cells)))))
    return Table(columns, rows, folder)


def _plain(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line that is not empty."""
    # not str.splitlines: it also splits at characters that a sentence may hold
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.split(delimiter)


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: no CSV ({error})") from None
