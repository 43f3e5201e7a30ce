"""Tables in files: whatever a name holds, a cell stays a cell and a row a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .errors import printable


def tsv_rows(rows: Iterable[Sequence[Any]]) -> str:
    """Lines of cells with tabs between; tabs, ends of lines and control characters in a cell as escapes."""
    return "".join("\t".join(printable(str(cell)) for cell in row) + "\n" for row in rows)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], pad: bool = False) -> str:
    """A table in Markdown; control characters and bars in a cell as escapes.

    Args:
        pad: fill the cells with spaces, so that columns line up in the text too.
    """
    lines = [[printable(cell).replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) if pad else 3 for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    if pad:
        lines = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
