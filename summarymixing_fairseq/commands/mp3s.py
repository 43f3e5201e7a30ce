"""`summarymixing mp3s`: probes of several encoders on all tasks of MP3S whose data is found, and one table."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError, printable
from .configs import config_dir as config_dir_of
from .inputs import add_outside_root_argument, check_seed

if TYPE_CHECKING:
    from ..probing.mp3s.tasks import Task, TaskData


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `mp3s` sub-command."""
    parser = subparsers.add_parser(
        "mp3s",
        help="probe encoders on all tasks of MP3S, and write one table",
        description="Train and evaluate the probes of MP3S on the data that is found in ROOT/{librispeech,"
        "commonvoice_cy,commonvoice_eu,slurp,iemocap,voxceleb1,prompts_en}; --list shows it. Writes DIR/mp3s.md, "
        "mp3s.json and, for several encoders, mp3s.png and layers.png. Finished runs are skipped, interrupted ones are "
        "resumed. A run that fails does not stop the others; the exit status is then 1.",
    )
    parser.add_argument("--encoder", action="append", default=[], metavar="[NAME=]CHECKPOINT", help="once for each")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder with a folder of manifests for each task")
    add_outside_root_argument(parser)
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder for runs and tables")
    parser.add_argument("--tasks", metavar="TASK,...", help="only these, or TASK_probeN (default: all with data)")
    parser.add_argument(
        "--random", action="store_true", help="also the first encoder's architecture with random weights"
    )
    parser.add_argument(
        "--config-dir", type=Path, metavar="DIR", help="folder of TASK_probeN.yaml (default: the package's own)"
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="[TASK:]KEY=VALUE",
        help="of the configuration, e.g. slurp:optimization.max_epoch=5; TASK or TASK_probeN; paths absolute",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: a GPU if there is one)")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the trainings (default: 1)")
    parser.add_argument("--force", action="store_true", help="replace runs that were made with other options")
    parser.add_argument(
        "--no-paper", action="store_true", help="leave out the paper's figures, for data that is not the paper's"
    )
    parser.add_argument("--note", metavar="TEXT", help="first line below the table")
    parser.add_argument("--list", action="store_true", help="show tasks, configurations and data; run nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Do the runs that are not done, and print the table.

    Raises:
        InputError: for options or data that cannot be used, and at the end if a run has failed.
    """
    from ..probing.mp3s.tasks import choose_probes, find_data

    check_seed(args.seed)
    probes = choose_probes(args.tasks)
    config_dir = args.config_dir or config_dir_of("mp3s")
    data = {task: find_data(task, args.data) for task in probes} if args.data else {}
    if args.list:
        _print_list(probes, config_dir, data)
        return
    for option in ("encoder", "data", "results"):
        if not getattr(args, option):
            raise InputError(f"--{option} is needed (or --list)")
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: must be at least 1")
    problems = [found.problem for found in data.values() if found.problem]
    if problems and args.tasks:
        raise InputError(problems[0])
    if len(problems) == len(data):
        raise InputError(f"{args.data} holds no task's data: --list says what is missing")

    from ..probing.mp3s.benchmark import plan, run_benchmark
    from ..probing.mp3s.encoders import parse_encoders
    from ..probing.mp3s.runs import Settings, parse_overrides
    from ..probing.mp3s.table import as_markdown

    settings = Settings(
        results=args.results.absolute(),
        config_dir=config_dir.absolute(),
        seed=args.seed,
        overrides=tuple(parse_overrides(args.override)),
        device=args.device,
        allow_outside_root=args.allow_outside_root,
    )
    encoders = parse_encoders(args.encoder, args.random)
    runs = plan(encoders, probes, data, settings)
    missing = [found.problem for task, found in data.items() if found.problem and task.of_mp3s]
    command = shlex.join(["summarymixing", *sys.argv[1:]])
    shown = {"command": command, "note": args.note, "with_paper": not args.no_paper}
    table, failures = run_benchmark(runs, encoders, settings, missing, args.jobs, args.force, shown)
    print(as_markdown(table))
    if failures:
        names = ", ".join(f"{failure.run.name} ({failure.stage})" for failure in failures)
        raise InputError(
            f"{len(failures)} of {len(runs)} runs failed: {names}: see their logs; run this again to retry"
        )


def _print_list(probes: dict[Task, list[int]], config_dir: Path, data: dict[Task, TaskData]) -> None:
    from ..probing.mp3s.tasks import ARROWS

    for task, numbers in probes.items():
        splits = ", ".join(split.name for split in task.splits)
        print(f"{task.name}: {task.title}; {task.metric.title} {ARROWS[task.metric.higher_is_better]} on {splits}")
        for number in numbers:
            config = config_dir / f"{task.config_name(number)}.yaml"
            print(printable(f"  probe {number}: {config}" + ("" if config.is_file() else " (not there)")))
        found = data.get(task)
        if found is None:
            print(f"  data: name its root by --data; made by {task.prepare}")
        elif found.problem:
            print(printable(f"  data: not found: {found.problem}"))
        else:
            folds = f", {len(found.folders)} folds" if found.folders[0][0] else ""
            print(printable(f"  data: found in {found.folders[0][1].parent if folds else found.folders[0][1]}{folds}"))
