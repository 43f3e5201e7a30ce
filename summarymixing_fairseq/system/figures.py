"""Figures of matplotlib, which is not needed but for plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Safe for the colour-blind: Okabe and Ito, "Color Universal Design" (2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def new_figure(width: float, height: float) -> Figure:
    """A figure of a size in inches. Raises InputError if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("a plot needs matplotlib: pip install 'summarymixing-fairseq[benchmark]'") from None
    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG. Raises InputError if it cannot be written."""
    with atomic_write(Path(path), "wb") as file:
        figure.savefig(file, format="png")
