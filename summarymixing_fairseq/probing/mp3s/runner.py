"""Runs of probes, several at a time: training, then evaluation. Finished runs are skipped, failures stop no other."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...system.errors import InputError, printable
from ...system.files import atomic_write
from ...system.processes import started
from ...system.progress import OverwrittenLine
from ...system.strict_json import to_json
from .runs import CHECKPOINT_NAME, LOG_NAME, TRAINED_NAME, Run, Tools, read_run
from .tasks import Split

POLL_SECONDS = 0.2
# between two progress messages
SHOW_SECONDS = 30.0
TAIL_LINES = 12

# Text on the progress of a run
Describe = Callable[[], str]
# The stages of a run, which yield again and again while a process runs
Stages = Generator[Describe, None, None]


@dataclass(frozen=True)
class Failure:
    """A run that failed, at which stage, and why."""

    run: Run
    stage: str
    reason: str


class Messages:
    """Progress on stderr: lines that stay, and on a terminal one line that is overwritten."""

    def __init__(self) -> None:
        self._line = OverwrittenLine() if sys.stderr.isatty() else None

    def show(self, text: str) -> None:
        """A line that the next may replace; an empty one takes it away."""
        if self._line:
            self._line.show(text)
        elif text:
            print(f"running: {text}", file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line that stays."""
        self.show("")
        print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def environment(device: str, jobs: int, num_threads: int, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment of the processes: each job gets its share of the threads, and of ``cuda:N`` only that GPU."""
    env = dict(os.environ if base is None else base)
    env.update(PYTHONUNBUFFERED="1", PYTHONWARNINGS="ignore")
    if jobs > 1:
        total = env.get("OMP_NUM_THREADS", "")
        env["OMP_NUM_THREADS"] = str(max(1, (int(total) if total.isdigit() else num_threads) // jobs))
    _, colon, number = device.partition(":")
    if colon:
        visible = env.get("CUDA_VISIBLE_DEVICES", "").split(",")
        env["CUDA_VISIBLE_DEVICES"] = visible[int(number)] if visible != [""] else number
    return env


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
    options = {"env": env, "pass_fds": descriptors, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    waiting = [_stages(run, tools, options, messages.say, failures) for run in runs]
    active: dict[Stages, Describe] = {}
    last_shown = time.monotonic()
    try:
        while waiting or active:
            for stages in list(active):
                describe = next(stages, None)
                if describe is not None:
                    active[stages] = describe
                else:
                    del active[stages]
                    on_finished()
            while waiting and len(active) < jobs:
                describe = next(waiting[0], None)
                if describe is not None:  # else it was done before, or could not start
                    active[waiting[0]] = describe
                del waiting[0]
            if active:
                time.sleep(POLL_SECONDS)
                if time.monotonic() - last_shown > SHOW_SECONDS:
                    last_shown = time.monotonic()
                    messages.show("; ".join(describe() for describe in active.values()))
    finally:
        for stages in [*active, *waiting]:
            stages.close()
    return failures


def _stages(
    run: Run, tools: Tools, options: Mapping[str, Any], say: Callable[[str], None], failures: list[Failure]
) -> Stages:
    """Train and evaluate one run. A failure is said, and added to ``failures``.

    Args:
        options: of the processes, see ``subprocess.Popen``.
    """
    log = run.folder / LOG_NAME
    log_start = log.stat().st_size if log.exists() else 0
    stage = "training"

    def reached() -> str:
        return progress(log, log_start, run.task.metric.key)

    def process(command: Sequence[str], output: Path) -> Generator[Describe, None, float]:
        """Run a command that has to write ``output``. Returns the seconds that it took."""
        began = time.monotonic()
        with open(log, "ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            start = file.tell()
            with started(command, cwd=run.folder, stdout=file, **options) as running:
                while running.poll() is None:
                    yield lambda: f"{run.name}: {reached() if stage == 'training' else stage}"
        if running.returncode or not output.exists():
            reason = f"exit status {running.returncode}" if running.returncode else f"{output.name} was not written"
            raise InputError("\n".join([reason, *_last_lines(log, start)]))
        return time.monotonic() - began

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


def _last_lines(log: Path, start: int) -> list[str]:
    """The last lines of a log, without the bytes before ``start``."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - 8192))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return [f"  | {printable(line)}" for line in lines[-TAIL_LINES:]]


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
