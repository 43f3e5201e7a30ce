"""The whole benchmark: the runs that are planned, run in one folder of results, then the table and the plots."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ...system.files import check_writable, exclusive
from ...system.jobs import Messages, environment
from ...system.machine import of_device
from ...system.tools import find_tools
from .encoders import Encoder
from .layers import read_columns
from .plots import plot_layers, plot_table
from .runner import Failure, run_all
from .runs import RECORD_NAME, Run, Settings, refuse_changed
from .table import build, write
from .tasks import Task, TaskData


def plan(
    encoders: Sequence[Encoder], probes: Mapping[Task, Sequence[int]], data: Mapping[Task, TaskData], settings: Settings
) -> list[Run]:
    """All runs: of the probes of each task, by their numbers, on the task's data.

    Raises:
        InputError: for a configuration or a split that is not there, or a path that no configuration can hold.
    """
    # encoders in the innermost loop: runs at the same time are then of several encoders, and do not wait for each
    # other's kept features
    runs = [
        Run(encoder, task, probe, folder, settings, fold)
        for task, found in data.items()
        for probe in probes[task]
        for fold, folder in found.folders
        for encoder in encoders
    ]
    for run in runs:
        if not run.config.is_file():
            raise InputError(
                f"{run.config} is not there: --config-dir must hold TASK_probeN.yaml of every probe that runs; leave "
                "it out for the package's own"
            )
        for name in run.needed_files():
            if not (run.data / name).is_file():
                raise InputError(f"{run.data / name} is not there, which an --override asks for")
        for path in (*run.paths().values(), run.config):
            if "${" in str(path):  # no quoting lasts through all that hydra and fairseq do with a configuration
                raise InputError(f"{path} holds ${{, which hydra takes for a reference: rename it")
    return runs


def run_benchmark(
    runs: Sequence[Run],
    encoders: Sequence[Encoder],
    settings: Settings,
    missing: Sequence[str],
    jobs: int,
    force: bool,
    shown: dict[str, Any],
) -> tuple[dict[str, Any], list[Failure]]:
    """Do the runs that are not done, and write table and plots.

    Args:
        missing: lines on data that was not found.
        jobs: runs at a time; force: replace runs that were made with other options.
        shown: ``command`` as it was typed, ``note`` and ``with_paper`` of the table (see ``table.build``).

    Returns:
        the table, and the runs that failed.

    Raises:
        InputError: for options that cannot be used, before any run starts.
    """
    results, tools, messages = settings.results, find_tools(), Messages()
    check_writable(results)
    hardware = of_device(settings.device, jobs)
    with exclusive(results, "another command, or a training that an interrupted one left behind,") as lock:
        refuse_changed(runs, force)
        for problem in missing:
            messages.say(f"not found: {problem}")
        messages.say(f"{len(runs)} runs, {jobs} at a time; logs: {results}/ENCODER/TASK_probeN/run.log")
        provenance = {"machine": hardware, "seed": settings.seed, "date": time.strftime("%Y-%m-%d"), **shown}

        def write_table(failures: Sequence[Failure] = ()) -> dict[str, Any]:
            table = build(runs, encoders, failures, missing, provenance)
            write(table, results)
            return table

        def write_so_far() -> None:
            try:
                write_table()
            except InputError as error:  # the other trainings go on: the disk may have room again by their end
                messages.say(str(error))

        env = environment(settings.device, hardware["num_threads"])
        failures = run_all(runs, tools, jobs, env, messages, write_so_far, () if lock is None else (lock,))
        messages.show("")
        table = write_table(failures)
        records = {path for depth in ("*/*", "*/*/*") for path in results.glob(f"{depth}/{RECORD_NAME}")}
        if others := records - {run.folder / RECORD_NAME for run in runs}:
            messages.say(f"{len(others)} earlier runs below {results} are not in the table: name their encoders too")
        _plot(table, runs, results, messages)
    return table, failures


def _plot(table: dict[str, Any], runs: Sequence[Run], results: Path, messages: Messages) -> None:
    """Write mp3s.png and layers.png for several encoders; without matplotlib a message says so.

    Plots of an earlier table are removed in any case.
    """
    of_table, of_layers = results / "mp3s.png", results / "layers.png"
    if of_table.exists():  # without it, layers.png is not of this command but of `summarymixing layers --plot`
        of_table.unlink()
        of_layers.unlink(missing_ok=True)
    found = [path for run in runs for split in run.task.splits if (path := run.results_path(split)).exists()]
    if len(table["encoders"]) < 2 or not found:
        return
    try:
        plot_table(table, of_table)
        titles = {encoder["name"]: encoder["title"] for encoder in table["encoders"]}
        columns = read_columns(found)
        columns.sort(key=lambda one: list(titles).index(one.encoder) if one.encoder in titles else len(titles))
        # one whose checkpoint changed between its probes has more than its name there
        plot_layers([replace(one, encoder=titles.get(one.encoder, one.encoder)) for one in columns], of_layers)
    except InputError as error:
        messages.say(f"no plots: {error}")
