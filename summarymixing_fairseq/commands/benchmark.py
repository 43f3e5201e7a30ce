"""`summarymixing benchmark`: time and memory of every part, compared with rivals."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..benchmarks.benchmark import add_contenders, choose
from ..benchmarks.suite import BENCHMARKS
from ..system.errors import InputError
from ..system.files import atomic_write, check_writable, refuse_existing
from ..system.progress import progress_line
from ..system.strict_json import to_json
from . import benchmark_layer, benchmark_memory
from .inputs import add_plot_argument, prepare


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `benchmark` sub-command, with one sub-command for each benchmark."""
    parser = subparsers.add_parser(
        "benchmark",
        help="time and memory of each part, compared with rivals",
        description="Time the contenders in turn, round after round, each in a process of its own, and print medians, "
        "peak memory and ratios. Ratios are medians over the rounds.",
    )
    benchmarks = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name, benchmark in BENCHMARKS.items():
        sub = benchmarks.add_parser(
            name,
            help=benchmark.help,
            description=benchmark.help,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        benchmark.add_arguments(sub)
        settings = set(vars(sub.parse_args([]))) - {"sizes"}
        sub.add_argument("--repeats", type=int, default=5, help="rounds")
        sub.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
        sub.add_argument("--threads", type=int, default=0, help="of each contender; 0: all processors")
        add_contenders(sub)
        sub.add_argument("--limit-seconds", type=float, default=900, help="skip a contender that takes longer once")
        sub.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
        add_plot_argument(sub, "plot time and memory")
        sub.add_argument("--force", action="store_true", help="overwrite these files")
        sub.set_defaults(settings=settings)
    for counted in (benchmark_layer, benchmark_memory):
        counted.add_benchmark(benchmarks)
    parser.set_defaults(run=run)


def _command(arguments: Sequence[str]) -> str:
    """What was typed, without the output files: results are shared."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(("--json", "--plot", "--force")):
            kept.append(argument)
        skip = argument in ("--json", "--plot")
    return shlex.join(["summarymixing", *kept])


def run(args: argparse.Namespace) -> None:
    """Measure and report.

    Raises:
        InputError: for an unknown contender, a missing recipe or device, or outputs that cannot be written.
    """
    if args.repeats < 1:
        raise InputError(f"--repeats {args.repeats}: at least 1")
    if not args.limit_seconds > 0:
        raise InputError(f"--limit-seconds {args.limit_seconds:g}: must be above 0")
    if min(args.sizes) <= 0:
        raise InputError(f"sizes {' '.join(f'{size:g}' for size in args.sizes)}: must be above 0")
    for name in sorted(args.settings):
        value = getattr(args, name)
        if type(value) is int and value < (least := 0 if name == "workers" else 1):
            raise InputError(f"--{name.replace('_', '-')} {value}: at least {least}")
    outputs = [path for path in (args.json, args.plot) if path is not None]
    refuse_existing(outputs, args.force)
    for path in outputs:
        check_writable(path.parent)

    from ..benchmarks import report, runner
    from ..system import machine

    device = prepare(args).type
    settings = {name: value for name, value in vars(args).items() if name in args.settings}
    if "config" in settings and not Path(settings["config"]).is_file():
        raise InputError(f"{args.config}: no such recipe; run this in a checkout of the project, or give --config")
    names = choose(args.contenders, BENCHMARKS[args.benchmark].contenders())
    num_threads = args.threads or machine.available_threads()
    conditions = runner.Conditions(args.benchmark, settings, device, num_threads, args.limit_seconds)
    progress = progress_line()
    rows = runner.run(names, args.sizes, conditions, args.repeats, progress)
    progress("")
    result = runner.result(conditions, machine.describe(device, num_threads), _command(sys.argv[1:]), rows)
    print(report.as_text(result))
    if not any(row.seconds for row in rows):
        raise InputError(f"no contender could be measured: {rows[0].failed}")
    if args.json is not None:
        with atomic_write(args.json) as file:
            file.write(to_json(result, indent=1) + "\n")
    if args.plot is not None:
        report.plot(result, args.plot)
