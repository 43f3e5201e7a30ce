"""`summarymixing check-manifest`: check manifests and labels against the audio files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError, printable
from ..system.files import atomic_write, check_writable, refuse_existing
from ..system.machine import available_threads
from ..system.tables import tsv_rows
from ..system.units import SAMPLE_RATE_HZ
from .inputs import add_outside_root_argument

if TYPE_CHECKING:
    import numpy as np

# Edges of the histogram of lengths, in seconds.
HISTOGRAM_EDGES = (0, 0.5, 1, 2, 5, 10, 15, 20, 30, 60)
BAR_WIDTH = 40
MOST_EXAMPLES = 3


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `check-manifest` sub-command."""
    parser = subparsers.add_parser(
        "check-manifest",
        help="check manifests and labels against the audio",
        description="Check every row of the manifests of a folder against its file, labels against rows, "
        "dictionaries and words, and splits against one another. Exit status 1 if anything is wrong.",
    )
    parser.add_argument("data", type=Path, metavar="DIR", help="folder of manifests")
    parser.add_argument("--split", nargs="+", metavar="SPLIT", help="only these (default: every SPLIT.tsv there)")
    parser.add_argument(
        "--workers", type=int, default=available_threads(), help="processes (default: one for each CPU)"
    )
    add_outside_root_argument(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="list everything that is wrong, tab-separated")
    parser.add_argument("--force", action="store_true", help="overwrite the report if it is there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Check and print.

    Raises:
        InputError: if anything is wrong, once all of it is printed.
    """
    from ..data.manifest import splits_of
    from ..data.manifest_check import check_folder

    if args.workers < 1:
        raise InputError("--workers must be 1 or more")
    splits = args.split or splits_of(args.data)
    if args.report is not None:
        refuse_existing([args.report], args.force)
        check_writable(args.report.parent)
    findings = check_folder(
        args.data,
        splits,
        workers=args.workers,
        allow_outside_root=args.allow_outside_root,
    )
    if args.report is not None:
        with atomic_write(args.report) as file:
            file.write(tsv_rows((kind, *one) for kind, found in findings.problems.items() for one in found))
    for split, sizes in findings.sizes.items():
        seconds = sizes / SAMPLE_RATE_HZ
        print(f"{printable(split)}: {len(sizes):,} clips, {seconds.sum() / 3600:.2f} h")
        print(histogram(seconds))
    for note in findings.notes:
        print(f"note: {printable(note)}")
    for kind, found in findings.problems.items():
        examples = "; ".join(f"{where}: {what}" if what else where for where, what in found[:MOST_EXAMPLES])
        print(f"WRONG {printable(kind)}: {len(found):,}, e.g. {printable(examples)}")
    if findings.problems:
        total = sum(map(len, findings.problems.values()))
        raise InputError(f"{args.data}: {total:,} problems; --report FILE lists them all")
    print("all well")


def histogram(seconds: np.ndarray) -> str:
    """A histogram of lengths in seconds, (clips,), as lines of text."""
    import numpy as np

    edges = [*HISTOGRAM_EDGES, np.inf]
    counts, _ = np.histogram(seconds, edges)
    lines = []
    for low, high, count in zip(edges, edges[1:], counts):
        if count:
            name = f"{low:g} s and more" if high == np.inf else f"{low:g} to {high:g} s"
            lines.append(f"  {name:>14} {'#' * max(1, round(BAR_WIDTH * count / counts.max()))} {count:,}")
    return "\n".join(lines)
