"""`summarymixing layers`: the learned layer weights of probes, one column for each probe."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.files import check_writable, refuse_existing
from .inputs import add_plot_argument


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `layers` sub-command."""
    parser = subparsers.add_parser(
        "layers",
        help="learned layer weights of probes, one column for each task, printed and plotted",
        description="Print the weight of each hidden state (0: the encoder's input) for each probe. * marks the "
        "largest; the last row is the centre of gravity, the mean number of the states by weight. Folds of a "
        "cross-validation are averaged.",
    )
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RESULTS", help="results.json of `evaluate`, or folders to search"
    )
    add_plot_argument(parser, "heat maps, one panel for each encoder")
    parser.add_argument("--force", action="store_true", help="overwrite the plot if it is there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print and plot.

    Raises:
        InputError: for results that cannot be read or have no weights, or a plot that cannot be written.
    """
    from ..probing.mp3s.layers import as_text, read_columns

    columns = read_columns(args.results)
    if args.plot is not None:
        from ..probing.mp3s.plots import plot_layers

        refuse_existing([args.plot], args.force)
        check_writable(args.plot.parent)
        plot_layers(columns, args.plot)
    print(as_text(columns))
