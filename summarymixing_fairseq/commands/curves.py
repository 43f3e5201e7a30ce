"""`summarymixing curves`: what runs have logged, as one picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.files import check_writable, refuse_existing
from .inputs import add_plot_argument


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `curves` sub-command."""
    parser = subparsers.add_parser(
        "curves",
        help="loss, accuracy, codebooks, phone accuracy and effective rank of runs, plotted from their logs",
        description="Plot the numbers of one run or of several beside each other. Several runs are shown by their "
        "latents and last layer.",
    )
    parser.add_argument(
        "logs",
        type=Path,
        nargs="+",
        metavar="LOG",
        help="log.jsonl of a run's folder, or what is printed with common.log_format=json",
    )
    add_plot_argument(parser, "output (default: curves.png)", Path("curves.png"))
    parser.add_argument("--force", action="store_true", help="overwrite the plot if it is there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read and plot.

    Raises:
        InputError: for a log that cannot be read or has no numbers, or a plot that cannot be written.
    """
    from ..training.curves import plot_curves, read_runs

    runs = read_runs(args.logs)
    refuse_existing([args.plot], args.force)
    check_writable(args.plot.parent)
    plot_curves(runs, args.plot)
    print(f"{args.plot}: {', '.join(runs)}")
