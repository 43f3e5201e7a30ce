"""Runs of probes, several at a time: training, then evaluation. Finished runs are skipped, failures stop no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...system.errors import InputError
from ...system.files import atomic_write
from ...system.jobs import Describe, Job, Messages, run_jobs, run_process
from ...system.strict_json import to_json
from ...system.tools import Tools
from .runs import CHECKPOINT_NAME, LOG_NAME, TRAINED_NAME, Run, read_run
from .tasks import Split


@dataclass(frozen=True)
class Failure:
    """A run that failed, at which stage, and why."""

    run: Run
    stage: str
    reason: str


def run_all(
    runs: Sequence[Run],
    tools: Tools,
    jobs: int,
    env: Mapping[str, str],
    messages: Messages,
    on_finished: Callable[[], object] = lambda: None,
    descriptors: Sequence[int] = (),
) -> list[Failure]:
    """Train and evaluate, ``jobs`` runs at a time.

    Args:
        on_finished: called when a run has ended.
        descriptors: open files that the processes inherit, such as a lock that they have to hold.

    Returns:
        the runs that failed. A KeyboardInterrupt or a signal (see ``interrupts``) ends all processes first.
    """
    failures: list[Failure] = []
    stages = [_stages(run, tools, env, descriptors, messages.say, failures) for run in runs]
    run_jobs(stages, jobs, messages, on_finished)
    return failures


def _stages(
    run: Run,
    tools: Tools,
    env: Mapping[str, str],
    descriptors: Sequence[int],
    say: Callable[[str], None],
    failures: list[Failure],
) -> Job:
    """Train and evaluate one run. A failure is said, and added to ``failures``."""
    log = run.folder / LOG_NAME
    log_start = log.stat().st_size if log.exists() else 0
    stage = "training"

    def reached() -> str:
        return progress(log, log_start, run.task.metric.key)

    def describe() -> str:
        return f"{run.name}: {reached() if stage == 'training' else stage}"

    def process(command: Sequence[str], output: Path) -> Generator[Describe, None, float]:
        return run_process(command, output, log, run.folder, env, descriptors, describe)

    try:
        is_done = run.is_trained()
        if not is_done:
            run.begin()
            (run.folder / TRAINED_NAME).unlink(missing_ok=True)
            for split in run.task.splits:  # results of other weights
                shutil.rmtree(run.results_path(split).parent, ignore_errors=True)
            seconds = yield from process(run.train_command(tools), run.folder / CHECKPOINT_NAME)
            with atomic_write(run.folder / TRAINED_NAME) as file:
                file.write(to_json({"seconds": round(seconds, 1), "reached": reached()}))
            say(f"{run.name}: trained in {seconds:.0f} s; {reached()}")
        for split in run.task.splits:
            if _is_evaluated(run, split):
                continue
            is_done, stage = False, f"evaluation on {split.name}"
            results = run.results_path(split)
            shutil.rmtree(results.parent, ignore_errors=True)
            seconds = yield from process(run.evaluate_command(tools, split), results)
            say(f"{run.name}: {split.name} {figure_of(run, split)}, {seconds:.0f} s")
        if is_done:
            say(f"{run.name}: done before")
    except (InputError, OSError) as error:  # e.g. the disk is full, or a checkpoint was removed
        reason, *tail = str(error).splitlines()
        failures.append(Failure(run, stage, reason))
        say("\n".join([f"{run.name}: {stage} FAILED: {reason}; log: {log}", *tail]))


def progress(path: Path, start: int, metric: str) -> str:
    """Epoch, loss and validation metric, as far as a log tells them.

    Args:
        path: of the log; start: number of bytes to skip, which are of earlier runs.
        metric: its name in results.json, e.g. ``wer``.
    """
    latest: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            file.seek(start)
            lines = file.read().splitlines()
    except OSError:
        lines = []
    for line in lines:
        begin = line.find(b'{"epoch"')
        try:
            latest.update(json.loads(line[begin:]) if begin >= 0 else {})
        except ValueError:  # the last line is still being written
            continue
    if "epoch" not in latest:
        return "starting"
    valid = f"valid_{metric}"
    if valid not in latest:  # tasks of several metrics may log accuracy alone
        valid = "valid_accuracy"
    parts = {"epoch": "epoch", "loss": "loss", valid: valid.replace("_", " "), f"valid_best_{metric}": "best"}
    return ", ".join(f"{label} {latest[key]}" for key, label in parts.items() if key in latest)


def _is_evaluated(run: Run, split: Split) -> bool:
    try:
        figure_of(run, split)
    except InputError:
        return False
    return True


def figure_of(run: Run, split: Split) -> str:
    """The task's metric with its interval.

    Raises:
        InputError: if results.json cannot be read or lacks the metric.
    """
    metric = read_run(run, split).metrics[run.task.metric.key]
    return f"{run.task.metric.title} {metric.value:.2f} {metric.unit} ({metric.low:.2f} to {metric.high:.2f})"
