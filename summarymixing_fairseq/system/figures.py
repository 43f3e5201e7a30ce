"""Figures of matplotlib, which is not needed but for plots, as files that are whole or not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Safe for the colour-blind: Okabe and Ito, "Color Universal Design" (2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"
# Of files, by the end of their names.
FORMATS = (".png", ".pdf", ".svg")
_DPI = 120
# Of a figure: half a gigabyte while it is drawn. matplotlib itself refuses more than 2^16 a side.
_MOST_PIXELS, _MOST_PIXELS_A_SIDE = 2**27, 2**16 - 1


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches, which no screen is needed for.

    Raises:
        InputError: if matplotlib is not installed, or the figure would be too large to draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a plot needs matplotlib: pip install 'summarymixing-fairseq[benchmark]'") from None
    sides = width * _DPI, height * _DPI
    if max(sides) > _MOST_PIXELS_A_SIDE or sides[0] * sides[1] > _MOST_PIXELS:
        raise InputError(f"a plot of {sides[0]:.0f} x {sides[1]:.0f} pixels is too large to draw: plot less at a time")
    return Figure(figsize=(width, height), layout="constrained", dpi=_DPI)


def line_style(number: int) -> dict[str, str]:
    """Colour and marker of the line of a number, from 0; 36 lines are told apart."""
    turn, colour = divmod(number, len(COLOURS))
    return {"color": COLOURS[colour], "marker": MARKERS[(colour + turn) % len(MARKERS)]}


def save_figure(figure: Figure, path: Path) -> None:
    """Write a file of one of the ``FORMATS``. Raises InputError if it cannot be written."""
    with atomic_write(Path(path), "wb") as file:
        figure.savefig(file, format=Path(path).suffix[1:])


def literal(text: str) -> str:
    """``text`` as it is: between two dollar signs matplotlib reads formulas, and ends in an error over broken ones."""
    return text.replace("$", r"\$")
