"""The two plots of MP3S: layer weights, and all metrics with their intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...system.figures import line_style, literal, new_figure, save_figure
from .layers import Column, centre_of_gravity

# of an encoder with random weights: grey
RANDOM_COLOUR = "#777777"
_COLUMN_INCHES, _STATE_INCHES = 0.42, 0.24


def plot_layers(columns: Sequence[Column], path: Path) -> None:
    """Heat maps of layer weights: one panel for each encoder, the same probes in all panels.

    Raises:
        InputError: if the file cannot be written, matplotlib is not installed, or the plot would be too large.
    """
    encoders = list(dict.fromkeys(column.encoder for column in columns))
    probes = list(dict.fromkeys((column.task, column.probe) for column in columns))
    num_states = max(len(column.weights) for column in columns)
    largest = max(max(column.weights) for column in columns)
    label_inches = 0.075 * max(len(f"{task}, {probe}") for task, probe in probes)
    panel_inches = max(_COLUMN_INCHES * len(probes), 1.8)
    figure = new_figure(2.0 + (panel_inches + 0.2) * len(encoders), 1.3 + _STATE_INCHES * num_states + label_inches)
    all_axes = figure.subplots(1, len(encoders), sharey=True, squeeze=False)[0]
    for axes, encoder in zip(all_axes, encoders):
        grid = [[math.nan] * len(probes) for _ in range(num_states)]  # (states, probes)
        for column in columns:
            if column.encoder != encoder:
                continue
            x = probes.index((column.task, column.probe))
            for state, weight in enumerate(column.weights):
                grid[state][x] = weight
            top = column.weights.index(max(column.weights))
            dark = column.weights[top] > 0.6 * largest
            axes.plot(x, top, "o", color="black" if dark else "white", markersize=5, zorder=3)
            centre = centre_of_gravity(column.weights)
            axes.plot([x - 0.42, x + 0.42], [centre] * 2, color="white", linewidth=3.5, solid_capstyle="butt", zorder=2)
            axes.plot([x - 0.42, x + 0.42], [centre] * 2, color="#D55E00", linewidth=2, solid_capstyle="butt", zorder=2)
        image = axes.imshow(grid, cmap="cividis", vmin=0, vmax=largest, origin="lower", aspect="auto")
        axes.set_xticks(
            range(len(probes)), [literal(f"{task}, {probe}") for task, probe in probes], rotation=90, fontsize=8
        )
        axes.set_title(literal(textwrap.fill(encoder, max(int(panel_inches / 0.085), 12))), fontsize=10)
        axes.set_yticks(range(num_states), ["0 (input)", *map(str, range(1, num_states))], fontsize=8)
        axes.set_facecolor("#e8e8e8")
    all_axes[0].set_ylabel("hidden state")
    figure.colorbar(image, ax=list(all_axes), label="weight", pad=0.01, aspect=30)
    figure.supxlabel("● largest weight,  orange bar: centre of gravity", fontsize=8)
    save_figure(figure, path)


def plot_table(table: dict[str, Any], path: Path) -> None:
    """All values of a table (see ``table.build``) as points with 95 % intervals, one panel for each metric, as a PNG.

    Its title is the table's note, where it has one.

    Raises:
        InputError: if the file cannot be written, matplotlib is not installed, or the plot would be too large.
    """
    metrics = list(dict.fromkeys(row["metric"] for row in table["rows"]))
    panels = [[row for row in table["rows"] if row["metric"] == metric] for metric in metrics]
    encoders = [encoder["name"] for encoder in table["encoders"]]
    heights = [len(rows) + 0.6 for rows in panels]
    row_inches = max(0.32, 0.13 * len(encoders) + 0.12)
    figure = new_figure(8.5, 0.9 + 0.55 * len(panels) + row_inches * sum(heights))
    all_axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    spread = 0.7 / len(encoders)
    for axes, rows in zip(all_axes, panels):
        for number, encoder in enumerate(table["encoders"]):
            style = {"color": RANDOM_COLOUR, "marker": "x"} if encoder["random"] else line_style(number)
            offset = (number - (len(encoders) - 1) / 2) * spread
            label: str | None = encoder["title"]
            for y, row in enumerate(rows):
                cell = row["cells"].get(encoder["name"])
                if cell is None or cell["value"] is None:
                    continue
                if cell["low"] is not None and cell["high"] is not None:
                    axes.plot([cell["low"], cell["high"]], [y + offset] * 2, color=style["color"], linewidth=1.4)
                axes.plot(cell["value"], y + offset, **style, markersize=5, label=label, linestyle="none")
                label = None
        for y in range(len(rows) - 1):
            axes.axhline(y + 0.5, color="#dddddd", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"{row['title']}, probe {row['probe']}" for row in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        better = "right" if rows[0]["higher_is_better"] else "left"
        axes.set_xlabel(f"{rows[0]['metric_title']} (%), further {better} is better", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.grid(True, axis="x", alpha=0.3)
    legend = {label: handle for axes in all_axes[::-1] for handle, label in zip(*axes.get_legend_handles_labels())}
    shown = [encoder["title"] for encoder in table["encoders"] if encoder["title"] in legend]
    handles = [legend[title] for title in shown]
    note = literal(textwrap.fill(table.get("note") or "", 110))
    columns = min(len(shown), 4) or 1
    figure.legend(handles, shown, loc="outside upper center", ncols=columns, fontsize=8, title=note, title_fontsize=9)
    save_figure(figure, path)
