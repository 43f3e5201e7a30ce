"""`summarymixing benchmark memory`: peak memory of an update by model size, clip length and mixer."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarks.benchmark import PAPER_MIXERS, add_contenders, choose, mixer_names, of_mixer
from ..system.errors import InputError
from ..system.figures import line_style, new_figure, save_figure
from ..system.files import check_writable, refuse_existing
from ..system.progress import progress_line
from ..system.units import SAMPLE_RATE_HZ
from .configs import config_dir
from .inputs import add_plot_argument, prepare

if TYPE_CHECKING:
    from ..benchmarks.memory_cost import MemoryCost

SIZES = ("small", "base", "large")
PARTS = ("weights", "optimizer", "activations")
HEADER = ("model", "mixer", "weights", "s a clip", "peak", *PARTS)
# Mixers a length whose parts can be told apart in a plot.
_MOST_BARS = 3
LEGEND = "activations: what the backward pass reads, gradients, and what operators need in passing; optimizer: AdamW"


def add_benchmark(benchmarks: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `memory` to the sub-commands of `benchmark`."""
    text = "peak memory of an update, by model size, clip length and mixer; counted, or on a GPU measured"
    parser = benchmarks.add_parser(
        "memory", help=text, description=text, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="pre-training recipes")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 20.0, 30.0, 60.0], help="length of a clip")
    parser.add_argument("--clips", type=int, default=8, help="clips of a batch")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16", "float16"), default="bfloat16", help="of products"
    )
    parser.add_argument("--recompute", choices=("none", "cheap", "layer"), default="none", help="model.recompute")
    add_contenders(parser)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="cpu: count; cuda: measure")
    add_plot_argument(parser, "plot the parts")
    parser.add_argument("--force", action="store_true", help="overwrite the plot")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Count or measure, and print.

    Raises:
        InputError: for a batch or length below 1, an unknown mixer, or a plot that cannot be written.
    """
    if args.clips < 1 or min(args.seconds) < 1:
        raise InputError(f"--clips {args.clips} --seconds {min(args.seconds):g}: at least 1 each")
    if args.plot is not None:
        refuse_existing([args.plot], args.force)
        check_writable(args.plot.parent)
    device = prepare(args)

    from ..benchmarks.memory_cost import measured_cost, memory_cost
    from ..benchmarks.recipe import read_recipe

    mixers = choose(args.contenders, mixer_names(PAPER_MIXERS[0]))
    progress = progress_line()
    rows: list[tuple[str, str, float, MemoryCost | str]] = []  # or why there is none
    for size in args.sizes:
        for mixer in mixers:
            for seconds in args.seconds:
                progress(f"{size}, {mixer}, {seconds:g} s")
                overrides = ["task.data=.", *of_mixer(mixer), f"model.recompute={args.recompute}"]
                cfg = read_recipe(config_dir("pretraining") / f"{size}.yaml", overrides)
                batch = args.clips, round(seconds * SAMPLE_RATE_HZ), args.precision
                cost: MemoryCost | str | None
                try:
                    cost = measured_cost(cfg, *batch) if device.type == "cuda" else memory_cost(cfg, *batch)
                except ValueError as error:  # such as a clip that is too long for a mixer: the other rows stay
                    cost = str(error).partition(":")[2].strip() or str(error)
                rows.append((size, mixer, seconds, cost or "out of memory"))
    progress("")
    how = "measured" if device.type == "cuda" else "counted, not measured"
    title = (
        f"peak memory of an update, {how}: {args.clips} clips, products in {args.precision}, "
        f"recompute {args.recompute}, {time.strftime('%Y-%m-%d')}"
    )
    print(f"# {title}")
    print(_table(rows))
    print(LEGEND)
    if args.plot is not None:
        _plot(rows, title, args.plot)


def _table(rows: Any) -> str:
    from ..system.tables import markdown_table

    cells = []
    for size, mixer, seconds, cost in rows:
        if isinstance(cost, str):
            cells.append((size, mixer, "", f"{seconds:g}", cost, "", "", ""))
            continue
        shares = [f"{100 * getattr(cost, part) / cost.peak:.0f} %" for part in PARTS]
        weights = f"{cost.weights / 4e6:.1f} M"
        cells.append((size, mixer, weights, f"{seconds:g}", f"{cost.peak / 2**30:.2f} GiB", *shares))
    return markdown_table(HEADER, cells)


def _counted(rows: Any, size: str, mixer: str) -> list[Any]:
    return [row for row in rows if row[:2] == (size, mixer) and not isinstance(row[3], str)]


def _plot(rows: Any, title: str, path: Path) -> None:
    """A panel for each model size: bars of the parts by length and mixer, or lines of the peak for many mixers."""
    sizes, mixers, lengths = (list(dict.fromkeys(row[i] for row in rows)) for i in range(3))
    figure = new_figure(4.2 * len(sizes) + 2, max(4.4, 0.25 * len(mixers)))
    axes = figure.subplots(1, len(sizes), squeeze=False)
    width = 0.8 / len(mixers)
    shades = {"weights": 0.45, "optimizer": 0.7, "activations": 1.0}
    for axis, size in zip(axes[0], sizes):
        axis.set(title=size, xlabel="s a clip")
        axis.grid(axis="y", alpha=0.3)
        if len(mixers) > _MOST_BARS:
            for number, mixer in enumerate(mixers):
                peaks = [(row[2], row[3].peak / 2**30) for row in _counted(rows, size, mixer)]
                axis.plot(*zip(*peaks), label=mixer, **line_style(number))
            continue
        for number, mixer in enumerate(mixers):
            points = [(lengths.index(row[2]), row[3]) for row in _counted(rows, size, mixer)]
            places = [place + (number - (len(mixers) - 1) / 2) * width for place, _ in points]
            bottom = [0.0] * len(places)
            for part in PARTS:
                heights = [getattr(cost, part) / 2**30 for _, cost in points]
                label = f"{mixer}: {part}"
                axis.bar(places, heights, 0.9 * width, bottom, color=f"C{number}", alpha=shades[part], label=label)
                bottom = [low + height for low, height in zip(bottom, heights)]
        axis.set(xticks=range(len(lengths)), xticklabels=[f"{s:g}" for s in lengths])
    axes[0][0].set_ylabel("peak memory (GiB)")
    axes[0][-1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.suptitle(title, fontsize="small", wrap=True)
    save_figure(figure, path)
