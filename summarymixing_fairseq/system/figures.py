"""Figures of matplotlib, which is not needed but for plots, as files that are whole or not there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Safe for the colour-blind: Okabe and Ito, "Color Universal Design" (2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osD^vP"
# Of files, by the end of their names.
FORMATS = (".png", ".pdf", ".svg")
_DPI = 120
_SMALL = 7
_MARKER = 4
_LINE = {"arrowstyle": "-", "linewidth": 0.4, "shrinkA": 0, "shrinkB": 0}
_NEAR = 4  # so many of the places below need no line
# Where a name may stand beside its point, the nearest first: to the right and up, in points of 1/72 inch.
_BESIDE = sorted(
    ((side * right, up) for side in (1, -1) for right in (6, 12, 24, 40) for up in range(-75, 84, 6)),
    key=lambda place: (place[0] ** 2 + (place[1] - _SMALL / 2) ** 2, -place[0], -place[1]),
)
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


def name_points(axes: Axes, points: Sequence[tuple[float, float]], names: Sequence[str]) -> None:
    """Write names beside points, each where it is on no point and on no other name; a line leads to those further off.

    Call it when all else of the figure is there, as what comes later can move the points.

    Args:
        points: in the units of the axes; names: one for each point.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    figure: Any = axes.figure
    figure.draw_without_rendering()  # which lays it out
    a_point = figure.dpi / 72
    pixels = [axes.transData.transform(point) for point in points]
    taken = [Bbox([pixel - _MARKER * a_point, pixel + _MARKER * a_point]) for pixel in pixels]
    for point, (x, y), name in zip(points, pixels, names):
        label = axes.annotate(
            literal(name), point, (0, 0), textcoords="offset points", fontsize=_SMALL, arrowprops=_LINE
        )
        label.set_in_layout(False)
        width, height = Text.get_window_extent(label).size  # of an annotation it would be with its line
        for right, up in _BESIDE:
            left = x + right * a_point - (width if right < 0 else 0)
            place = Bbox.from_bounds(left, y + up * a_point, width, height)
            inside = axes.bbox.count_contains(place.corners()) == len(place.corners())
            if inside and not any(map(place.overlaps, taken)):
                break
        taken.append(place)
        label.set(position=(right, up), horizontalalignment="right" if right < 0 else "left")
        if label.arrow_patch is not None:
            label.arrow_patch.set_visible((right, up) not in _BESIDE[:_NEAR])


def save_figure(figure: Figure, path: Path) -> None:
    """Write a file of one of the ``FORMATS``. Raises InputError if it cannot be written."""
    with atomic_write(Path(path), "wb") as file:
        figure.savefig(file, format=Path(path).suffix[1:])


def literal(text: str) -> str:
    """``text`` as it is: between two dollar signs matplotlib reads formulas, and ends in an error over broken ones."""
    return text.replace("$", r"\$")
