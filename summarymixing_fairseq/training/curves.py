"""Plots of what runs have logged: loss, accuracy, codebooks, phone accuracy and effective rank by layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError
from ..system.figures import COLOURS, new_figure, save_figure
from .log_file import NUMBERS, Records, read_log, series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Number of training and of validation, title. A panel is there if a run has logged one of them.
PANELS = (
    ("loss", "valid_loss", "loss (bits)"),
    ("accuracy", "valid_accuracy", "accuracy"),
    ("code_perplexity", "valid_code_perplexity", "codebook perplexity"),
    ("", "valid_codebook_use", "codebook perplexity / entries"),
    ("code_use", "", "entries used lately"),
    ("uer", "valid_uer", "error rate of units (%)"),
)
BY_LAYER = (("valid_phones_", "phone accuracy (ridge regression)"), ("valid_rank_", "effective rank"))
_COLUMNS = 3


def read_runs(paths: Sequence[Path]) -> dict[str, Records]:
    """Records of logs, by the names of the files (for ``log.jsonl`` of the folders), or by paths where two agree.

    Raises:
        InputError: for a log that cannot be read, is named twice, or holds no numbers.
    """
    runs: dict[str, Records] = {}
    # every run has a log.jsonl in a folder of its own
    names = [path.absolute().parent.name if path.name == NUMBERS else path.stem for path in paths]
    for path, name in zip(paths, names):
        label = name if names.count(name) == 1 else str(path)
        if label in runs:
            raise InputError(f"{path} is named twice: name each log once")
        runs[label] = read_log(path)
        if not runs[label]:
            raise InputError(f"{path} has no numbers of a training in it: give {NUMBERS} of its folder")
    return runs


def plot_curves(runs: Mapping[str, Records], path: Path) -> None:
    """Plot runs by their names, with one panel for each kind of number that they have logged.

    Lines are of training, dots of validation. Of several runs latents and last layer stand for all layers.

    Raises:
        InputError: if no run has such a number, the file cannot be written, or matplotlib is not installed.
    """
    logged = {name for records in runs.values() for record in records for name in record}
    panels = [panel for panel in PANELS if logged & set(panel[:2])]
    by_layer = [panel for panel in BY_LAYER if any(name.startswith(panel[0]) for name in logged)]
    num_panels = len(panels) + len(by_layer)
    if not num_panels:
        raise InputError(f"{', '.join(runs)}: nothing to plot, neither loss nor accuracy was logged")
    columns, rows = min(num_panels, _COLUMNS), math.ceil(num_panels / _COLUMNS)
    figure = new_figure(5.0 * columns, 0.3 + 3.7 * rows)
    all_axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, (training, validation, title) in zip(all_axes, panels):
        for number, (label, records) in enumerate(runs.items()):
            if not any({training, validation} & set(record) for record in records):
                continue
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*series(records, training), color=colour, linewidth=1, alpha=0.6)
            axes.plot(*series(records, validation), "o-", color=colour, markersize=3, label=label)
        axes.set_title(title)
        axes.legend(fontsize=8)
    for axes, (prefix, title) in zip(all_axes[len(panels) :], by_layer):
        _plot_layers(axes, runs, prefix)
        axes.set_title(title)
        axes.legend(fontsize=8)
    for axes in all_axes[:num_panels]:
        axes.set_xlabel("updates")
        axes.grid(alpha=0.3)
    for axes in all_axes[num_panels:]:
        axes.set_axis_off()
    figure.supxlabel("lines: training; dots: validation", fontsize=8)
    save_figure(figure, path)


def _plot_layers(axes: Axes, runs: Mapping[str, Records], prefix: str) -> None:
    from matplotlib import colormaps

    for number, (label, records) in enumerate(runs.items()):
        names = {name[len(prefix) :] for record in records for name in record if name.startswith(prefix)}
        layers = sorted((name for name in names if name.startswith("layer")), key=lambda name: int(name[5:]))
        shown = [name for name in ("latents", "input") if name in names] + layers
        if len(runs) > 1:
            shown = shown[:1] + layers[-1:]
        for place, layer in enumerate(shown):
            colour = COLOURS[number % len(COLOURS)] if len(runs) > 1 else colormaps["cividis"](place / len(shown))
            name = f"{label}, {layer}" if len(runs) > 1 else layer
            style = "o--" if len(runs) > 1 and place else "o-"
            axes.plot(*series(records, prefix + layer), style, color=colour, markersize=3, label=name)
