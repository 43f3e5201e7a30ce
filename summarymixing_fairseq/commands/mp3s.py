"""`summarymixing mp3s`: probes of several encoders on all tasks of MP3S that data is found for, and one table."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError
from ..system.files import check_writable, exclusive
from .inputs import add_outside_root_argument

if TYPE_CHECKING:
    from ..probing.mp3s.encoders import Encoder
    from ..probing.mp3s.runner import Failure, Messages
    from ..probing.mp3s.runs import Run, Tools
    from ..probing.mp3s.tasks import Task, TaskData

CONFIG_DIR = Path("examples/mp3s")
DEFAULT_PROBES = "1,2"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `mp3s` sub-command."""
    parser = subparsers.add_parser(
        "mp3s",
        help="probe encoders on all tasks of MP3S, and write one table",
        description="Train and evaluate the probes of MP3S on what is found of ROOT/{librispeech,commonvoice_cy,"
        "commonvoice_eu,slurp,iemocap,voxceleb1,prompts_en}; --list shows it. Writes DIR/mp3s.md, mp3s.json and, with "
        "several encoders, mp3s.png and layers.png. What is done is skipped, what was interrupted goes on. Exit status "
        "1 if a run failed; the others end all the same.",
    )
    parser.add_argument("--encoder", action="append", default=[], metavar="[NAME=]CHECKPOINT", help="once for each")
    parser.add_argument("--data", type=Path, metavar="ROOT", help="folder with a folder of manifests for each task")
    add_outside_root_argument(parser)
    parser.add_argument("--results", type=Path, metavar="DIR", help="folder for runs and tables")
    parser.add_argument("--tasks", metavar="TASK,...", help="only these, or TASK_probeN (default: all with data)")
    parser.add_argument("--probes", default=DEFAULT_PROBES, metavar="N,...", help="1, 2 or 1,2 (default)")
    parser.add_argument(
        "--random", action="store_true", help="also the first encoder's architecture with random weights"
    )
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help=f"of TASK_probeN.yaml (default: {CONFIG_DIR})")
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="[TASK:]KEY=VALUE",
        help="of the configuration, e.g. slurp:optimization.max_epoch=5; TASK or TASK_probeN; paths absolute",
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: a GPU if there is one)")
    parser.add_argument("--seed", type=int, default=1, help="of the trainings (default: 1)")
    parser.add_argument("--force", action="store_true", help="replace runs that were made with other options")
    parser.add_argument(
        "--no-paper", action="store_true", help="leave the paper's figures out, as where the data is not the paper's"
    )
    parser.add_argument("--note", metavar="TEXT", help="stands first below the table")
    parser.add_argument("--list", action="store_true", help="show tasks, configurations and data; run nothing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run what is not done, write the table.

    Raises:
        InputError: for options or data that cannot be used, and at the end, if a run has failed.
    """
    from ..probing.mp3s import tasks as mp3s_tasks

    chosen = _chosen_tasks(args.tasks, _chosen_probes(args.probes))
    config_dir = args.config_dir or _default_config_dir()
    data = {task: mp3s_tasks.find_data(task, args.data) for task in chosen} if args.data else {}
    if args.list:
        _print_list(chosen, config_dir, data)
        return
    for option in ("encoder", "data", "results"):
        if not getattr(args, option):
            raise InputError(f"--{option} is needed (or --list)")
    if args.jobs < 1:
        raise InputError(f"--jobs {args.jobs}: must be at least 1")
    missing = [found.problem for task, found in data.items() if found.problem and (task.of_mp3s or args.tasks)]
    if missing and args.tasks:
        raise InputError(missing[0])
    if not any(found.folders for found in data.values()):
        raise InputError(f"{args.data} holds no task's data: --list says what is missing")
    _run_and_report(args, data, chosen, config_dir, missing)


def _run_and_report(
    args: argparse.Namespace,
    data: dict[Task, TaskData],
    probes: dict[Task, list[int]],
    config_dir: Path,
    missing: list[str],
) -> None:
    from ..probing.mp3s.encoders import parse_encoders
    from ..probing.mp3s.runner import environment, run_all
    from ..probing.mp3s.runs import Run, Settings, parse_overrides, refuse_changed
    from ..probing.mp3s.table import as_markdown, build, write

    overrides = parse_overrides(args.override)
    encoders = parse_encoders(args.encoder, args.random)
    results = args.results.absolute()
    settings = Settings(
        results, config_dir.absolute(), args.seed, tuple(overrides), args.device, args.allow_outside_root
    )
    # encoder last: runs at the same time then are of several, and do not wait for each other's cached features
    runs = [
        Run(encoder, task, probe, folder, settings, fold)
        for task, found in data.items()
        for probe in probes[task]
        for fold, folder in found.folders
        for encoder in encoders
    ]
    for run in runs:
        if not run.config.is_file():
            raise InputError(f"{run.config} is not there: run this in a checkout of the project, or give --config-dir")
    tools = find_tools()
    check_writable(results)
    machine = _machine(args.device)
    messages = _messages()
    with exclusive(results, "another command, or a training that an interrupted one left behind,") as lock:
        refuse_changed(runs, args.force)
        for line in missing:
            messages.say(f"not found: {line}")
        others = _line_on_others(runs, encoders, args)
        if others:
            messages.say(others)
        messages.say(f"{len(runs)} runs, {args.jobs} at a time; logs: {results}/ENCODER/TASK_probeN/run.log")
        provenance = {
            "machine": machine,
            "command": shlex.join(["summarymixing", *sys.argv[1:]]),
            "seed": args.seed,
            "date": time.strftime("%Y-%m-%d"),
            "note": args.note,
            "with_paper": not args.no_paper,
        }

        def write_table(failures: Sequence[Failure] = ()) -> dict:
            table = build(runs, encoders, failures, missing, provenance)
            table["notes"] += [others] if others else []
            write(table, results)
            return table

        env = environment(args.device, args.jobs, machine["num_threads"])
        failures = run_all(runs, tools, args.jobs, env, messages, write_table, () if lock is None else (lock,))
        messages.show("")
        table = write_table(failures)
        _plot(table, results, messages)
        print(as_markdown(table))
    if failures:
        names = ", ".join(f"{failure.run.name} ({failure.stage})" for failure in failures)
        raise InputError(
            f"{len(failures)} of {len(runs)} runs failed: {names}: see their logs; run this again to retry"
        )


def _line_on_others(runs: Sequence[Run], encoders: Sequence[Encoder], args: argparse.Namespace) -> str | None:
    """How many runs of the results folder the table leaves out, and how to have them in it; None if none."""
    from ..probing.mp3s.runs import left_out

    others = left_out(runs)
    if not others:
        return None
    unnamed = sorted({*others} - {encoder.name for encoder in encoders})
    advice = ["without --tasks and --probes"] if args.tasks or args.probes != DEFAULT_PROBES else []
    advice += [f"with {', '.join(unnamed)} as well"] if unnamed else []
    return f"not in the table: {len(others)} of the runs in the results folder" + (
        f"; run this {' and '.join(advice)} to show all" if advice else ""
    )


def _chosen_tasks(names: str | None, probes: list[int]) -> dict[Task, list[int]]:
    """Tasks in their order, with the probes of each: those of ``--probes``, or the one that TASK_probeN names."""
    from ..probing.mp3s.tasks import PROBES, TASKS, task_named

    if names is None:
        return dict.fromkeys(TASKS, probes)
    chosen: dict[Task, set[int]] = {}
    for name in map(str.strip, names.split(",")):
        stem, _, number = name.rpartition("_probe")
        is_one = bool(stem) and number in map(str, PROBES)
        chosen.setdefault(task_named(stem if is_one else name), set()).update([int(number)] if is_one else probes)
    return {task: sorted(chosen[task]) for task in TASKS if task in chosen}


def _chosen_probes(numbers: str) -> list[int]:
    from ..probing.mp3s.tasks import PROBES

    chosen = {number.strip() for number in numbers.split(",")}
    if not chosen <= {str(probe) for probe in PROBES}:
        raise InputError(f"--probes {numbers}: must be 1, 2 or 1,2")
    return [probe for probe in PROBES if str(probe) in chosen]


def _default_config_dir() -> Path:
    """examples/mp3s here, or in the checkout that the package is of."""
    beside = Path(__file__).resolve().parents[2] / CONFIG_DIR
    return beside if beside.is_dir() and not CONFIG_DIR.is_dir() else CONFIG_DIR


def _print_list(chosen: dict[Task, list[int]], config_dir: Path, data: dict[Task, TaskData]) -> None:
    for task, probes in chosen.items():
        splits = ", ".join(split.name for split in task.splits)
        print(f"{task.name}: {task.title}; {task.metric.title} {task.metric.arrow} on {splits}")
        for probe in probes:
            config = config_dir / f"{task.config_name(probe)}.yaml"
            print(f"  probe {probe}: {config}" + ("" if config.is_file() else " (not there)"))
        found = data.get(task)
        if found is None:
            print(f"  data: not looked for, name its root by --data; made by {task.prepare}")
        elif found.problem:
            print(f"  data: not found: {found.problem}")
        else:
            folds = f", {len(found.folders)} folds" if found.folders[0][0] else ""
            print(f"  data: found in {found.folders[0][1].parent if folds else found.folders[0][1]}{folds}")


def find_tools() -> Tools:
    """The commands that runs consist of: those of this environment.

    Raises:
        InputError: if one is not installed.
    """
    from ..probing.mp3s.runs import Tools

    paths = []
    for name in ("fairseq-hydra-train", "summarymixing"):
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            raise InputError(f"{name} is not installed in this environment: pip install summarymixing-fairseq")
        paths.append(found)
    return Tools((paths[0],), (paths[1], "evaluate"))


def _machine(device: str) -> dict:
    """What the runs are computed on.

    Raises:
        InputError: for a device that is not there: fairseq itself would train on the CPU without a word.
    """
    import torch

    from ..system import machine

    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise InputError(f"--device {device}: must be cpu, cuda, cuda:N or auto")
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= num_gpus:
        raise InputError(f"--device {device}: torch sees {num_gpus} GPUs here")
    return machine.describe("cuda" if kind != "cpu" and num_gpus else "cpu", machine.available_threads())


def _messages() -> Messages:
    from ..probing.mp3s.runner import Messages

    is_terminal = sys.stderr.isatty()
    width = 0

    def show(text: str) -> None:
        nonlocal width
        if is_terminal:
            text = text[: shutil.get_terminal_size().columns - 1]
            print(f"\r{text.ljust(width)}", end="" if text else "\r", file=sys.stderr, flush=True)
            width = len(text)
        elif text:
            print(f"running: {text}", file=sys.stderr, flush=True)

    def say(text: str) -> None:
        show("") if is_terminal else None
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)

    return Messages(say, show)


def _plot(table: dict, results: Path, messages: Messages) -> None:
    """With several encoders, mp3s.png and layers.png; without matplotlib a line that says so.

    Those of an earlier table go in any case.
    """
    from ..probing.mp3s.plots import plot_layers, plot_table
    from ..probing.mp3s.table import columns_of

    paths = [results / name for name in ("mp3s.png", "layers.png")]
    if paths[0].exists():  # else layers.png is not this command's but one that `summarymixing layers` was asked for
        for path in paths:
            path.unlink(missing_ok=True)
    columns = columns_of(table)
    if len(table["encoders"]) < 2 or not columns:
        return
    try:
        plot_table(table, paths[0])
        plot_layers(columns, paths[1])
    except InputError as error:
        messages.say(f"no plots: {error}")
