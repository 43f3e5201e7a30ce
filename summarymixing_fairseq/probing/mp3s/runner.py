"""Runs of probes, several at a time: training, then evaluation. Finished runs are skipped, failures stop no other."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...system.errors import InputError
from ...system.files import atomic_write
from ..results import read_results
from .processes import LoggedProcess
from .runs import CHECKPOINT_NAME, LOG_NAME, TRAINED_NAME, Run, Tools
from .tasks import Split
from .training_log import progress

POLL_SECONDS = 0.2
# between two progress messages
SHOW_SECONDS = 30.0


@dataclass(frozen=True)
class Failure:
    """A run that failed, at which stage, and why."""

    run: Run
    stage: str
    reason: str


@dataclass(frozen=True)
class Messages:
    """How progress is reported: ``say`` prints a line that stays, ``show`` one that the next may replace."""

    say: Callable[[str], None]
    show: Callable[[str], None]


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
        descriptors: open files that the processes inherit, see ``LoggedProcess``.

    Returns:
        the runs that failed. A KeyboardInterrupt or a signal (see ``interrupts``) ends all processes first.
    """
    waiting = list(runs)
    active: list[_Job] = []
    failures: list[Failure] = []
    last_shown = time.monotonic()
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                job = _Job(waiting.pop(0), tools, env, messages.say, descriptors)
                if job.advance():
                    active.append(job)
                elif job.failure:
                    failures.append(job.failure)
            for job in [job for job in active if not job.is_busy()]:
                if not job.advance():
                    active.remove(job)
                    failures += [job.failure] if job.failure else []
                    on_finished()
            if active:
                time.sleep(POLL_SECONDS)
                if time.monotonic() - last_shown > SHOW_SECONDS:
                    last_shown = time.monotonic()
                    messages.show("; ".join(job.describe() for job in active))
    finally:
        for job in active:
            job.stop()
    return failures


class _Job:
    """The stages of a run, one after the other."""

    def __init__(
        self,
        run: Run,
        tools: Tools,
        env: Mapping[str, str],
        say: Callable[[str], None],
        descriptors: Sequence[int],
    ):
        self.run = run
        self.failure: Failure | None = None
        self._tools, self._env, self._say, self._descriptors = tools, env, say, descriptors
        self._log = run.folder / LOG_NAME
        self._process: LoggedProcess | None = None
        self._split: Split | None = None  # being evaluated; None: training
        self._log_start = self._log.stat().st_size if self._log.exists() else 0

    @property
    def _stage(self) -> str:
        return f"evaluation on {self._split.name}" if self._split else "training"

    def is_busy(self) -> bool:
        return self._process is not None and self._process.status() is None

    def advance(self) -> bool:
        """Start the next stage. False if none is left, or if the stage that has just ended failed."""
        process, self._process = self._process, None
        if process is not None and not self._finish(process):
            return False
        try:
            return self._start_next(first=process is None)
        except (InputError, OSError) as error:  # e.g. the disk is full, or a checkpoint was removed
            self._fail(str(error))
            return False

    def _start_next(self, first: bool) -> bool:
        run = self.run
        if not run.is_trained():
            run.begin()
            (run.folder / TRAINED_NAME).unlink(missing_ok=True)
            for split in run.task.splits:  # results of other weights
                shutil.rmtree(run.results_path(split).parent, ignore_errors=True)
            self._launch(run.train_command(self._tools))
            return True
        for split in run.task.splits:
            if not _is_evaluated(run, split):
                shutil.rmtree(run.results_path(split).parent, ignore_errors=True)
                self._split = split
                self._launch(run.evaluate_command(self._tools, split))
                return True
        if first:
            self._say(f"{run.name}: done before")
        return False

    def _launch(self, command: list[str]) -> None:
        self._process = LoggedProcess(command, self._log, self.run.folder, self._env, self._descriptors)

    def _finish(self, process: LoggedProcess) -> bool:
        run, status = self.run, process.status()
        output = run.results_path(self._split) if self._split else run.folder / CHECKPOINT_NAME
        if status or not output.exists():
            reason = f"exit status {status}" if status else f"{output.name} was not written"
            self._fail(reason, process.tail())
            return False
        try:
            if self._split is None:
                reached = self._progress()
                with atomic_write(run.folder / TRAINED_NAME) as file:
                    json.dump({"seconds": round(process.seconds, 1), "reached": reached}, file)
                self._say(f"{run.name}: trained in {process.seconds:.0f} s; {reached}")
            else:
                figure = figure_of(run, self._split)
                self._say(f"{run.name}: {self._split.name} {figure}, {process.seconds:.0f} s")
        except InputError as error:
            self._fail(str(error))
            return False
        return True

    def _fail(self, reason: str, tail: str = "") -> None:
        self.failure = Failure(self.run, self._stage, reason)
        self._say(f"{self.run.name}: {self._stage} FAILED: {reason}; log: {self._log}" + (f"\n{tail}" if tail else ""))

    def describe(self) -> str:
        """Its progress."""
        if self._split is not None:
            return f"{self.run.name}: {self._stage}"
        return f"{self.run.name}: {self._progress()}"

    def _progress(self) -> str:
        return progress(self._log, self._log_start, self.run.task.metric.key)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()


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
    path = run.results_path(split)
    metric = read_results(path).metrics.get(run.task.metric.key)
    if metric is None:
        raise InputError(f"{path} lacks the metric {run.task.metric.key}")
    return f"{run.task.metric.title} {metric.value:.2f} {metric.unit} ({metric.low:.2f} to {metric.high:.2f})"
