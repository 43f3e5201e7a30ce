"""Contenders in turn, round after round: a machine that slows down slows all of them."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from typing import IO, Any, cast

from ..system import processes
from .suite import BENCHMARKS

# Threads of a contender that has just run spin for some milliseconds, on processors that the next one needs.
SETTLE_SECONDS = 0.2
# A held contender that takes more memory than this is started anew for every repetition: several may not fit.
HOLD_BYTES = 2 * 2**30
# A worker whose input has ended gets this long to end by itself.
SECONDS_TO_END = 5


@dataclass
class Row:
    """Samples of one contender at one size.

    Attributes:
        seconds: one entry a round; peak_bytes: memory above what the process held after its imports.
        failed: why there are no samples, or no more of them; None if all went well.
    """

    contender: str
    size: float
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failed: str | None = None


@dataclass(frozen=True)
class Conditions:
    """What is the same for all contenders of a run.

    Attributes:
        benchmark: name in ``suite.BENCHMARKS``; settings: values of its options.
        device: "cpu" or "cuda"; num_threads: of each contender.
        limit_seconds: for building and warming up, and for each repetition.
    """

    benchmark: str
    settings: dict[str, Any]
    device: str
    num_threads: int
    limit_seconds: float


class WorkerFailed(Exception):
    """A contender could not be built or run; the message says why."""


class Worker:
    """Process of one contender at one size.

    Raises:
        WorkerFailed: if the contender cannot be built, or not in time.
    """

    def __init__(self, contender: str, size: float, conditions: Conditions):
        self._limit_seconds = conditions.limit_seconds
        job = json.dumps({**asdict(conditions), "contender": contender, "size": size})
        with ExitStack() as stack:
            self._errors = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace"))
            self._process = stack.enter_context(
                processes.started(
                    [sys.executable, "-m", f"{__package__}.worker", job],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    text=True,
                    env={**os.environ, **BENCHMARKS[conditions.benchmark].environment.get(contender, {})},
                )
            )
            self._requests = cast("IO[str]", self._process.stdin)
            self._replies = stack.enter_context(cast("IO[str]", self._process.stdout))
            self._reply()
            self._open = stack.pop_all()

    def _reply(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._replies], [], [], self._limit_seconds)
        if not ready:
            raise WorkerFailed(f"more than {self._limit_seconds:g} s")
        line = self._replies.readline()
        if not line:
            status = self._process.wait()
            if status == -9:
                raise WorkerFailed("killed: out of memory")
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or [f"exit status {status}"])[-1]
            raise WorkerFailed(last)
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise WorkerFailed(reply["failed"])
        return reply

    def sample(self) -> tuple[float, int]:
        """Seconds of one repetition, and the process's peak memory so far in bytes."""
        time.sleep(SETTLE_SECONDS)
        with suppress(BrokenPipeError):  # the reply then says why the process ended
            print("run", file=self._requests, flush=True)
        reply = self._reply()
        return reply["seconds"], reply["peak_bytes"]

    def close(self) -> None:
        """End the process: by itself, or by force after ``SECONDS_TO_END``."""
        with suppress(subprocess.TimeoutExpired), self._open:
            with suppress(BrokenPipeError):
                self._requests.close()
            self._process.wait(SECONDS_TO_END)


def run(
    contenders: list[str], sizes: list[float], conditions: Conditions, repeats: int, progress: Callable[[str], None]
) -> list[Row]:
    """Time every contender at every size.

    Args:
        repeats: rounds. A contender that takes longer than the limit once is not run again, nor at a larger size. Nor
            is it run at a size where it would take longer even if its time only grew linearly.
        progress: is told what is being done.
    """
    rows: list[Row] = []
    given_up: dict[str, str] = {}
    for size in sorted(sizes):
        for row in rows:
            at_least = min(row.seconds, default=0.0) * size / row.size
            if at_least > conditions.limit_seconds:
                given_up.setdefault(row.contender, f"not run: at least {at_least:.0f} s, from its time at {row.size:g}")
        rows_here = [Row(contender, size, failed=given_up.get(contender)) for contender in contenders]
        rows += rows_here
        workers: dict[str, Worker] = {}
        try:
            for repeat in range(repeats):
                for row in rows_here:
                    if row.failed:
                        continue
                    progress(f"{row.contender} at {size:g}, round {repeat + 1} of {repeats}")
                    try:
                        _sample(row, workers, conditions)
                    except WorkerFailed as error:
                        row.failed = str(error)
                        given_up[row.contender] = f"{error} at {size:g}"
                        if row.contender in workers:
                            workers.pop(row.contender).close()
        finally:
            for worker in workers.values():
                worker.close()
    return rows


def _sample(row: Row, workers: dict[str, Worker], conditions: Conditions) -> None:
    """Add one repetition to a row. Workers that stay alive are kept in ``workers``."""
    worker = workers.get(row.contender)
    if worker is None:
        worker = workers[row.contender] = Worker(row.contender, row.size, conditions)
    seconds, peak_bytes = worker.sample()
    row.seconds.append(seconds)
    row.peak_bytes = max(row.peak_bytes, peak_bytes)
    on_gpu = conditions.device == "cuda"  # a contender that waits there holds weights and optimizer alone: it is kept
    if not on_gpu and (not BENCHMARKS[conditions.benchmark].hold or peak_bytes > HOLD_BYTES):
        workers.pop(row.contender).close()


def result(conditions: Conditions, machine: dict[str, Any], command: str, rows: list[Row]) -> dict[str, Any]:
    """A run as plain containers, for JSON, tables and plots."""
    benchmark = BENCHMARKS[conditions.benchmark]
    return {
        "benchmark": conditions.benchmark,
        "date": time.strftime("%Y-%m-%d"),
        "command": command,
        "machine": machine,
        "settings": conditions.settings,
        "reference": benchmark.reference,
        "size_unit": benchmark.size_unit,
        "rows": [asdict(row) for row in rows],
    }
