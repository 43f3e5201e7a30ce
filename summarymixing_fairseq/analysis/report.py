"""The page and the plots of `summarymixing analyse`, from its ``results.json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..system.errors import InputError
from ..system.figures import line_style, literal, new_figure, save_figure
from ..system.files import atomic_write
from ..system.tables import markdown_table
from .observations import MEASURES

PAGE = "analysis.md"
PANELS_A_ROW = 3
Rows = list[dict[str, Any]]


def write_report(content: Mapping[str, Any], folder: Path) -> str:
    """Write the page, a plot for each measure, and one of CKA between layers for each encoder and pair.

    Args:
        content: of ``results.json``.

    Returns:
        why plots are missing, where they are.
    """
    plots: list[Path] = []
    missing = ""
    for name, rows in _by_measure(content):
        try:
            if name == "layers":
                plots += _heat_maps(rows, folder)
            else:
                _curves(name, rows, folder / f"{name}.png")
                plots.append(folder / f"{name}.png")
        except InputError as error:  # matplotlib is not installed, or one is too large to draw
            missing = missing or f"no plot of {name}: {error}"
    with atomic_write(folder / PAGE) as file:
        file.write(as_markdown(content, [plot.name for plot in plots]))
    return missing


def as_markdown(content: Mapping[str, Any], plots: Sequence[str] = ()) -> str:
    """A table for each measure: places down, encoders across, values with their intervals."""
    about = content["about"]
    lines = [
        "# What each layer holds",
        "",
        f"{about['clips']} clips, {about['seconds'] / 60:.1f} minutes. Intervals: 95 %, by leaving out one of ten "
        "groups of clips at a time; of ABX by a bootstrap over its pairs of phones. PWCCA has none.",
    ]
    for name, rows in _by_measure(content):
        lines += ["", f"## {name}", "", f"{MEASURES[name].help[0].upper()}{MEASURES[name].help[1:]}.", ""]
        lines += [f"![{name}]({plot})" for plot in plots if Path(plot).stem.split("-")[0] == name]
        if name == "layers":
            continue
        encoders = list(dict.fromkeys(row["encoder"] for row in rows))
        cells = {(row["encoder"], row["place"], _series(row)): _shown(row) for row in rows}
        header = ["place", *(f"{encoder}: {one}" for encoder in encoders for one in _all_series(rows))]
        body = [
            [place, *(cells.get((encoder, place, one), "") for encoder in encoders for one in _all_series(rows))]
            for place in _places(rows)
        ]
        lines += ["", markdown_table(header, body)]
    if content["skipped"]:
        lines += ["", "## Not measured", ""]
        lines += [f"- {title}: {reason}" for title, reason in content["skipped"].items()]
    return "\n".join(lines) + "\n"


def _by_measure(content: Mapping[str, Any]) -> Iterator[tuple[str, Rows]]:
    for name in MEASURES:
        rows = [row for row in content["rows"] if row["measure"] == name]
        if rows:
            yield name, rows


def _series(row: Mapping[str, Any]) -> str:
    return f"{row['number']} with {row['other']}" if row["other"] else row["number"]


def _all_series(rows: Rows) -> list[str]:
    return list(dict.fromkeys(map(_series, rows)))


def _places(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["place"] for row in rows))


def _shown(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "no number"
    digits = 1 if abs(row["value"]) >= 10 else 3
    shown = f"{row['value']:.{digits}f}"
    return shown if row["low"] is None else f"{shown} ({row['low']:.{digits}f}, {row['high']:.{digits}f})"


def _curves(name: str, rows: Rows, path: Path) -> None:
    """A panel for each number: places across, a line with its interval for each encoder."""
    series, places = _all_series(rows), _places(rows)
    encoders = list(dict.fromkeys(row["encoder"] for row in rows))
    num_columns = min(PANELS_A_ROW, len(series))
    num_rows = -(-len(series) // num_columns)
    figure = new_figure(max(4.5, 0.35 * len(places) + 1.5) * num_columns, 3.2 * num_rows + 0.4)
    panels = figure.subplots(num_rows, num_columns, squeeze=False).flatten()
    for panel, one in zip(panels, series):
        for number, encoder in enumerate(encoders):
            found = {row["place"]: row for row in rows if row["encoder"] == encoder and _series(row) == one}
            x = [places.index(place) for place in found]
            values, lows, highs = (
                np.array([row[key] if row[key] is not None else np.nan for row in found.values()], np.float64)
                for key in ("value", "low", "high")
            )
            style = line_style(number)
            panel.plot(x, values, **style, markersize=4, label=literal(encoder))
            panel.fill_between(x, lows, highs, color=style["color"], alpha=0.2, linewidth=0)
        panel.set_title(literal(one))
        panel.set_xticks(range(len(places)), places, rotation=60 if max(map(len, places)) > 3 else 0)
        panel.grid(alpha=0.3)
    for panel in panels[len(series) :]:
        panel.set_axis_off()
    panels[0].legend()
    figure.suptitle(literal(MEASURES[name].help), wrap=True)
    save_figure(figure, path)


def _heat_maps(rows: Rows, folder: Path) -> list[Path]:
    """CKA between the places of one encoder, and of each pair of encoders."""
    written = []
    by_pair: dict[tuple[str, str], Rows] = {}
    for row in rows:
        by_pair.setdefault((row["encoder"], str(row.get("other_encoder") or row["encoder"])), []).append(row)
    for (one, other), chosen in by_pair.items():
        down, across = (list(dict.fromkeys(row[key] for row in chosen)) for key in ("place", "other"))
        if one == other:
            down = across = list(dict.fromkeys([*down, *across]))
        values = np.full((len(down), len(across)), np.nan)
        for row in chosen:
            i, j = down.index(row["place"]), across.index(row["other"])
            values[i, j] = np.nan if row["value"] is None else row["value"]
            if one == other:
                values[j, i] = values[i, j]
        if one == other:
            np.fill_diagonal(values, 1.0)
        side = max(4.0, 0.3 * len(down) + 2)
        figure = new_figure(side + 1, side)
        panel = figure.subplots()
        image = panel.imshow(values, vmin=0, vmax=1, cmap="viridis", origin="lower")
        panel.set_xticks(range(len(across)), across, rotation=60)
        panel.set_yticks(range(len(down)), down)
        panel.set_xlabel(literal(other))
        panel.set_ylabel(literal(one))
        panel.set_title("linear CKA")
        figure.colorbar(image)
        written.append(folder / (f"layers-{one}.png" if one == other else f"layers-{one},{other}.png"))
        save_figure(figure, written[-1])
    return written
