"""`summarymixing benchmark`: time and memory of every part beside its rivals."""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ..system.errors import InputError
from ..system.files import atomic_write, check_writable, refuse_existing

# Between two lines of progress in a log.
LOG_SECONDS = 30
BENCHMARKS = ("cell", "objective", "update", "length", "filterbank", "data", "manifest")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `benchmark` sub-command, one sub-command of its own a benchmark."""
    parser = subparsers.add_parser(
        "benchmark",
        help="time and memory of cell, objective, update, length, filterbank, data or manifest, beside rivals",
        description="Time the contenders in turn, round after round, each in a process of its own, and print medians, "
        "peak memory and ratios. Ratios are medians over the rounds.",
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name in BENCHMARKS:
        module = importlib.import_module(f"..benchmarks.{name}", __package__)
        sub = benchmarks.add_parser(
            name, help=module.HELP, formatter_class=argparse.ArgumentDefaultsHelpFormatter, description=module.__doc__
        )
        module.add_arguments(sub)
        sub.add_argument("--repeats", type=int, default=5, help="rounds")
        sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        sub.add_argument("--threads", type=int, default=0, help="of each contender; 0: all processors")
        sub.add_argument("--contenders", nargs="+", metavar="NAME", help="only these; an unknown name lists them")
        sub.add_argument("--limit-seconds", type=float, default=900, help="leave out what takes longer once")
        sub.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
        sub.add_argument("--plot", type=Path, metavar="PNG", help="plot time and memory")
        sub.add_argument("--force", action="store_true", help="overwrite these files if they are there already")
    parser.set_defaults(run=run)


def _progress() -> Callable[[str], None]:
    """Shows what is being done: one line of a terminal, or in a log a line whenever half a minute has gone by."""
    width, last = 0, time.monotonic()

    def show(text: str) -> None:
        nonlocal width, last
        if sys.stderr.isatty():
            print(f"\r{text.ljust(width)}", end="" if text else "\r", file=sys.stderr, flush=True)
            width = len(text)
        elif text and time.monotonic() - last > LOG_SECONDS:
            print(text, file=sys.stderr, flush=True)
            last = time.monotonic()

    return show


def _command(arguments: Sequence[str]) -> str:
    """What was typed, without where the outputs went: it stands in files that are shared."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(("--json", "--plot", "--force")):
            kept.append(argument)
        skip = argument in ("--json", "--plot")
    return shlex.join(["summarymixing", *kept])


def run(args: argparse.Namespace) -> None:
    """Measure and report.

    Raises:
        InputError: for an unknown contender, a device that is not there, or outputs that cannot be written.
    """
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: at least 1")
    outputs = [path for path in (args.json, args.plot) if path is not None]
    refuse_existing(outputs, args.force)
    for path in outputs:
        check_writable(path.parent)

    import torch

    from ..benchmarks import options, report, runner
    from ..system import machine

    device = args.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch sees no GPU here")
    module = importlib.import_module(f"..benchmarks.{args.benchmark}", __package__)
    settings = module.settings(args)
    if "config" in settings:
        options.check_config(Path(settings["config"]))
    names = module.contenders(settings)
    unknown = set(args.contenders or ()) - set(names)
    if unknown:
        raise InputError(f"--contenders {sorted(unknown)[0]!r}: choose among {', '.join(map(repr, names))}")
    names = [name for name in names if name in (args.contenders or names)]
    num_threads = args.threads or machine.available_threads()
    progress = _progress()
    conditions = runner.Conditions(settings, device, num_threads, args.limit_seconds)
    rows = runner.run(module, names, module.sizes(args), conditions, args.repeats, progress)
    progress("")
    result = runner.result(
        args.benchmark, module, settings, machine.describe(device, num_threads), _command(sys.argv[1:]), rows
    )
    if args.json is not None:
        with atomic_write(args.json) as file:
            json.dump(result, file, indent=1)
    if args.plot is not None:
        report.plot(result, args.plot)
    print(report.as_text(result))
    if not any(row.seconds for row in rows):
        raise InputError(f"no contender could be measured: {rows[0].failed}")
