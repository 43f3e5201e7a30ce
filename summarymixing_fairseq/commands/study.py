"""`summarymixing study`: encoders compared over seeds, by one file that names them."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..system.errors import InputError
from .configs import config_dir

_FAR = 0.1  # a size that cannot stand beside the one that was asked for
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `study` sub-command, and its own: `run`, `table` and `sizes`."""
    parser = subparsers.add_parser(
        "study",
        help="compare encoders over seeds: pre-train, look at their layers, fine-tune, score; tables and plots",
        description="`run` and `table` take a FILE, a YAML that names encoders, seeds, data and trainings "
        "(studies/README.md); `sizes` finds encoders with as many parameters.",
    )
    commands = parser.add_subparsers(dest="study", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="compute what has no result yet, and write the tables",
        description="Compute what has no result yet, one small JSON for each encoder and seed, and write the tables. "
        "It goes on after any interruption, on another machine too.",
    )
    table = commands.add_parser(
        "table",
        help="only write the tables",
        description="Write NAME.md, NAME.csv and NAME.png from the results that are there.",
    )
    for sub in (run, table):
        sub.add_argument("file", type=Path, metavar="FILE", help="of the study")
        sub.add_argument("--results", type=Path, metavar="DIR", help="folder of results (default: FILE without .yaml)")
    run.add_argument("--work", type=Path, metavar="DIR", help="folder of logs and checkpoints (default: study/NAME)")
    run.add_argument("--jobs", type=int, default=1, metavar="N", help="cells at a time (default: 1)")
    run.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: a GPU if there is one)")
    run.set_defaults(run=_run)
    table.set_defaults(run=_table)
    sizes = commands.add_parser(
        "sizes",
        help="the width at which another mixer has as many parameters",
        description="Find the encoder width, a multiple of model.summary_heads, at which the whole pre-training model "
        "is nearest to a number of parameters, the feed-forward modules four times as wide. Counted on models that are "
        "built, without memory.",
    )
    sizes.add_argument("--mixer", nargs="+", metavar="NAME", help="only these (default: every mixer)")
    sizes.add_argument("--parameters", required=True, type=_number, metavar="N", help="such as 155M")
    sizes.add_argument("--config", default="base", metavar="NAME", help="of pre-training (default: base)")
    sizes.add_argument("--set", nargs="+", default=[], metavar="model.KEY=VALUE", help="more that differs from it")
    sizes.set_defaults(run=_sizes)


def _number(text: str) -> int:
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([KMB]?)", text)
    if found is None or not (number := round(float(found[1]) * _UNITS[found[2]])):
        raise argparse.ArgumentTypeError(f"{text[:40]!r}: a number of parameters, such as 155M (units: K, M, B)")
    return number


def _run(args: argparse.Namespace) -> None:
    """Compute and write the tables.

    Raises:
        InputError: for a file or data that cannot be used, and at the end if a cell has failed.
    """
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: must be at least 1")
    from ..studies.plan import read_study

    study = read_study(args.file, config_dir)
    results = _results(args)
    from ..studies.study import run_study, write_tables

    work = (args.work or Path("study", study.name)).absolute()
    failures = run_study(study, results, work, args.jobs, args.device)
    try:
        print(write_tables(study, results), end="")
    except InputError as error:  # where cells have failed, that is what to say
        if not failures:
            raise
        print(f"no tables: {error}")
    if failures:
        raise InputError(f"{len(failures)} cells failed: {', '.join(failures)}: see their logs, and run this again")


def _table(args: argparse.Namespace) -> None:
    """Write the tables. Raises InputError for a file or results that cannot be used."""
    from ..studies.plan import read_study

    study = read_study(args.file, config_dir)
    from ..studies.study import write_tables

    print(write_tables(study, _results(args)), end="")


def _results(args: argparse.Namespace) -> Path:
    """The folder of results. Raises InputError where it would be the study's own file."""
    results: Path = args.results or args.file.with_suffix("")
    if results == args.file:
        raise InputError(f"{args.file}: its name must end in .yaml, or give --results a folder")
    return results


def _sizes(args: argparse.Namespace) -> None:
    """Print width, size and overrides of each mixer.

    Raises:
        InputError: for a configuration, mixer or setting that cannot be used, or a number that no width comes near.
    """
    import summarymixing_fairseq

    from ..studies.plan import config_path

    config = config_path(args.config, config_dir("pretraining"), "--config")
    summarymixing_fairseq.register()
    from ..modules.mixing import MIXERS
    from ..studies.sizes import matched_size

    far = []
    for mixer in args.mixer or sorted(MIXERS):
        size = matched_size(config, mixer, args.parameters, args.set)
        deviation = size.parameters / args.parameters - 1
        print(f"{mixer}: width {size.width}, {size.parameters:,} parameters ({deviation:+.2%})")
        print(f"  {' '.join(size.overrides)}")
        if abs(deviation) > _FAR:
            far.append(mixer)
    if far:
        raise InputError(f"--parameters {args.parameters:,}: no width comes within {_FAR:.0%} with {', '.join(far)}")
