"""What the plots of probes share: figures, and names in them as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120
# Of a figure: half a gigabyte while it is drawn. matplotlib itself refuses more than 2^16 a side.
_MOST_PIXELS, _MOST_PIXELS_A_SIDE = 2**27, 2**16 - 1


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that size in inches.

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


def literal(text: str) -> str:
    """``text`` as it is: between two dollar signs matplotlib reads formulas, and ends in an error over broken ones."""
    return text.replace("$", r"\$")
