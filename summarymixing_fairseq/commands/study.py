"""`summarymixing study`: encoders compared over seeds, by one file that names them."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.errors import InputError
from .configs import config_dir


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `study` sub-command."""
    parser = subparsers.add_parser(
        "study",
        help="compare encoders over seeds: pre-train, look at their layers, fine-tune, score; one table and one plot",
        description="FILE is a YAML that names encoders, seeds, data and trainings (studies/README.md). `run` computes "
        "what has no result yet, one small JSON for each encoder and seed, and goes on after any interruption, on "
        "another machine too. `table` only writes NAME.md, NAME.csv and NAME.png from the results that are there.",
    )
    parser.add_argument("what", choices=("run", "table"), help="compute and write, or only write")
    parser.add_argument("file", type=Path, metavar="FILE", help="of the study")
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder of results (default: FILE without .yaml)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder of logs and checkpoints (default: study/NAME)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time (default: 1)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: a GPU if there is one)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Compute and write the tables.

    Raises:
        InputError: for a file or data that cannot be used, and at the end if a cell has failed.
    """
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: must be at least 1")
    from ..studies.plan import read_study

    study = read_study(args.file, config_dir)
    results = args.results or args.file.with_suffix("")
    from ..studies.study import run_study, write_tables

    failures: list[str] = []
    if args.what == "run":
        work = (args.work or Path("study", study.name)).absolute()
        failures = run_study(study, results, work, args.jobs, args.device)
    if not failures or any(results.glob("*.json")):
        print(write_tables(study, results), end="")
    if failures:
        raise InputError(f"{len(failures)} cells failed: {', '.join(failures)}: see their logs, and run this again")
