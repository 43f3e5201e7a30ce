"""The results of a study as a picture."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from ..probing.metrics.bootstrap import Interval
from ..system.figures import line_style, literal, name_points, new_figure, save_figure
from .plan import Study
from .rows import Row, gates_of, places_of


def plot(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Phones by the place that is read, error rates, and quality against time and against size, as a PNG.

    Quality is the error rate, or the best phone accuracy where no recogniser was trained. What nothing was measured of
    has no panel.

    Raises:
        InputError: if the file cannot be written, or matplotlib is not installed.
    """
    panels: list[tuple[Callable[[Any], None], Sequence[_Point]]] = []  # what draws them, and points to be named
    if places_of(rows):
        panels.append((partial(_plot_phones, rows), ()))
    if gates := gates_of(rows):
        panels.append((partial(_plot_gates, gates), ()))
    with_errors = [row for row in rows if row.cer is not None]
    if with_errors:
        panels.append((partial(_plot_errors, with_errors), ()))
    size = next((size for size in _SIZES if any(size[1](row) for row in rows)), None)
    for label, cost in filter(None, (_TIME, size)):
        points = [
            _Point(row.encoder, x, *quality)
            for row in rows
            if (x := cost(row)) is not None and (quality := _quality(row, bool(with_errors))) is not None
        ]
        if points:
            panels.append((partial(_plot_pareto, points, label, bool(with_errors)), points))
    if not panels:
        return
    columns = min(len(panels), 2)
    lines = math.ceil(len(panels) / columns)
    figure = new_figure(6.2 * columns, lines * (1.6 + max(3.4, 0.32 * len(rows))))
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for (draw, _), axis in zip(panels, axes):
        draw(axis)
        axis.grid(alpha=0.3)
    for axis in axes[len(panels) :]:
        axis.remove()
    figure.suptitle(literal(study.title), fontsize=10, wrap=True)
    for (_, to_name), axis in zip(panels, axes):
        name_points(axis, [(point.cost, point.quality) for point in to_name], [point.name for point in to_name])
    save_figure(figure, path)


class _Point(NamedTuple):
    name: str
    cost: float
    quality: float
    interval: Interval


def _quality(row: Row, errors: bool) -> tuple[float, Interval] | None:
    """Error rate, or the best phone accuracy in percent, and its range."""
    if errors:
        return None if row.cer is None else (row.cer, row.cer_interval)
    low, high = row.phones_range
    return None if row.best_phones is None else (100 * row.best_phones, (100 * low, 100 * high))


_TIME: tuple[str, Callable[[Row], float | None]] = (
    "seconds an update of pre-training",
    lambda row: 1 / row.updates_per_second if row.updates_per_second else None,
)
# The first that was measured is plotted.
_SIZES: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("peak memory of pre-training, MiB", lambda row: row.peak_mib),
    ("parameters, M", lambda row: row.parameters and row.parameters / 1e6),
)


def _plot_phones(rows: Sequence[Row], axis: Any) -> None:
    places = places_of(rows)
    for number, row in enumerate(rows):
        values = [100 * row.phones.get(place, math.nan) for place in places]
        axis.plot(values, label=row.encoder, **line_style(number))
    axis.set(xticks=range(len(places)), ylabel="phone accuracy, %", title="linear map from frames to phones")
    axis.set_xticklabels(places, rotation=30, ha="right")
    axis.legend(fontsize=8)


def _plot_gates(gates: Sequence[tuple[str, str, list[tuple[float, ...]]]], axis: Any) -> None:
    for number, (encoder, probe, layers) in enumerate(gates):
        axis.plot(range(1, len(layers) + 1), list(map(mean, layers)), label=f"{encoder}, {probe}", **line_style(number))
    axis.set(xlabel="layer", ylabel="share of s, mean of the seeds", title="gates: above 0.5 more of the summary")
    axis.set_xticks(range(1, 1 + max(len(layers) for *_, layers in gates)))
    axis.axhline(0.5, color="grey", linestyle="--", zorder=0)
    axis.legend(fontsize=7)


def _plot_errors(rows: Sequence[Row], axis: Any) -> None:
    for number, row in enumerate(rows):
        cer = row.cer or 0.0
        low, high = (cer if math.isnan(end) else end for end in row.cer_interval)
        whiskers = [[max(cer - low, 0)], [max(high - cer, 0)]]
        axis.errorbar(cer, number, xerr=whiskers, linestyle="none", capsize=4, **line_style(number))
    axis.set(yticks=range(len(rows)), xlabel="CER on test clips, 95 % over seeds and clips")
    axis.set_yticklabels([row.encoder for row in rows])
    axis.invert_yaxis()
    axis.set_xlim(left=0)


def _plot_pareto(points: Sequence[_Point], label: str, errors: bool, axis: Any) -> None:
    """Quality against cost, and a line through those that no other is as cheap and better than."""
    for number, (_, cost, quality, interval) in enumerate(points):
        low, high = (quality if math.isnan(end) else end for end in interval)
        whiskers = [[max(quality - low, 0)], [max(high - quality, 0)]]
        axis.errorbar(cost, quality, yerr=whiskers, linestyle="none", elinewidth=0.7, **line_style(number))
    front = pareto_front([(point.cost, point.quality) for point in points], errors)
    axis.plot(*zip(*front), "--", color="grey", zorder=0)
    measure = "CER on test clips" if errors else "phone accuracy at the best place, %"
    axis.set(xlabel=label, ylabel=measure, title=f"{'lower' if errors else 'higher'} and further left is better")
    axis.margins(0.12)


def pareto_front(points: Sequence[tuple[float, float]], errors: bool) -> list[tuple[float, float]]:
    """Of points of (cost, quality) those that no other is as cheap and better than, by cost.

    Args:
        errors: whether less of the quality is better.
    """
    sign = 1 if errors else -1
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], sign * point[1])):
        if not front or sign * quality < sign * front[-1][1]:
            front.append((cost, quality))
    return front
