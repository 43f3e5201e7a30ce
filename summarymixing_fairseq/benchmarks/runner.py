"""Contenders in turn, round after round, so that a machine whose speed drifts is as slow for one as for the other."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

from ..system.interrupts import end_group, register, uninterrupted

# Threads of a contender that has just run spin for some milliseconds, on processors that the next one needs.
SETTLE_SECONDS = 0.2
# A held contender that takes more memory than this is started anew for every repetition: several may not fit.
HOLD_BYTES = 2 * 2**30
# A worker whose input has ended, ends; one in the middle of a repetition is not waited for any longer than this.
SECONDS_TO_END = 5


@dataclass
class Row:
    """Samples of one contender at one size.

    Attributes:
        seconds: one entry a round; peak_bytes: above the process's state after its imports.
        failed: why there are no samples, or none more; None if all went well.
    """

    contender: str
    size: float
    seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failed: str | None = None


@dataclass(frozen=True)
class Conditions:
    """What is the same for all contenders: the benchmark's settings, the device, and the limit of a repetition."""

    settings: dict[str, Any]
    device: str
    num_threads: int
    limit_seconds: float


class WorkerFailed(Exception):
    """A contender could not be built or run; the message says why."""


class Worker:
    """Process of one contender.

    Args:
        job: as in ``worker.serve``; limit_seconds: for building and warming up, and for each repetition.

    Raises:
        WorkerFailed: if the contender cannot be built, or not in time.
    """

    def __init__(self, job: dict[str, Any], limit_seconds: float):
        self._limit_seconds = limit_seconds
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed below)
        with uninterrupted():
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker", json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, **job.get("environment", {})},
                start_new_session=True,  # Ctrl-C is this process's matter
            )
            self._forget = register(partial(end_group, self._process, SECONDS_TO_END))
        try:
            self._reply()
        except BaseException:
            self.close()
            raise

    def _reply(self) -> dict[str, Any]:
        ready, _, _ = select.select([self._process.stdout], [], [], self._limit_seconds)
        if not ready:
            raise WorkerFailed(f"more than {self._limit_seconds:g} s")
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            if status == -9:
                raise WorkerFailed("killed: out of memory")
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or [f"exit status {status}"])[-1]
            raise WorkerFailed(last)
        reply = json.loads(line)
        if "failed" in reply:
            raise WorkerFailed(reply["failed"])
        return reply

    def sample(self) -> tuple[float, int]:
        """Seconds of one repetition, and the process's peak memory so far in bytes."""
        time.sleep(SETTLE_SECONDS)
        with suppress(BrokenPipeError):  # the reply says what became of it
            print("run", file=self._process.stdin, flush=True)
        reply = self._reply()
        return reply["seconds"], reply["peak_bytes"]

    def close(self) -> None:
        """End the process: by itself, so that it removes its files, or else by force."""
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            end_group(self._process, SECONDS_TO_END)
        self._forget()
        self._process.stdout.close()
        self._errors.close()


def run(
    benchmark: ModuleType,
    contenders: list[str],
    sizes: list[float],
    conditions: Conditions,
    repeats: int,
    progress: Callable[[str], None],
) -> list[Row]:
    """Time every contender at every size.

    Args:
        benchmark: module of this folder: ``build``; ``HOLD``: whether all contenders stay in memory over the rounds,
            but those that take ``HOLD_BYTES``; the others start their process anew for each repetition;
            ``KEEP_FREED_MEMORY``: whether they run as training does (see ``cpu_memory``); and, if it has one,
            ``ENVIRONMENT``: variables of a contender's process.
        repeats: rounds. A contender that takes longer than the limit once is not asked again, nor at a larger size, nor
            is one that would even if its time only grew linearly with the size.
        progress: is told what is being done.
    """
    rows = []
    given_up: dict[str, str] = {}
    for size in sorted(sizes):
        rows_here = [Row(contender, size) for contender in contenders]
        for row in rows:
            at_least = min(row.seconds, default=0.0) * size / row.size
            if at_least > conditions.limit_seconds and row.contender not in given_up:
                given_up[row.contender] = f"not run: at least {at_least:.0f} s, from its time at {row.size:g}"
        rows += rows_here
        workers: dict[str, Worker] = {}
        try:
            for repeat in range(repeats):
                for row in rows_here:
                    if row.contender in given_up and row.failed is None:
                        row.failed = given_up[row.contender]
                    if row.failed:
                        continue
                    progress(f"{row.contender} at {size:g}, round {repeat + 1} of {repeats}")
                    try:
                        _sample(row, workers, benchmark, conditions)
                    except WorkerFailed as error:
                        row.failed = str(error)
                        given_up[row.contender] = f"{error} at {size:g}"
                        if row.contender in workers:
                            workers.pop(row.contender).close()
        finally:
            for worker in workers.values():
                worker.close()
    return rows


def _sample(
    row: Row,
    workers: dict[str, Worker],
    benchmark: ModuleType,
    conditions: Conditions,
) -> None:
    """Add one repetition to a row; the workers that stay are kept in ``workers``."""
    worker = workers.get(row.contender)
    if worker is None:
        job = {
            "benchmark": benchmark.__name__.rpartition(".")[2],
            "contender": row.contender,
            "size": row.size,
            "settings": conditions.settings,
            "device": conditions.device,
            "num_threads": conditions.num_threads,
            "environment": getattr(benchmark, "ENVIRONMENT", {}).get(row.contender, {}),
        }
        worker = workers[row.contender] = Worker(job, conditions.limit_seconds)
    seconds, peak_bytes = worker.sample()
    row.seconds.append(seconds)
    row.peak_bytes = max(row.peak_bytes, peak_bytes)
    if not benchmark.HOLD or peak_bytes > HOLD_BYTES:
        workers.pop(row.contender).close()


def result(
    name: str, benchmark: ModuleType, settings: dict[str, Any], machine: dict[str, Any], command: str, rows: list[Row]
) -> dict[str, Any]:
    """A run as plain containers, for JSON, tables and plots."""
    return {
        "benchmark": name,
        "date": time.strftime("%Y-%m-%d"),
        "command": command,
        "machine": machine,
        "settings": settings,
        "reference": benchmark.REFERENCE,
        "size_unit": benchmark.SIZE_UNIT,
        "rows": [asdict(row) for row in rows],
    }
