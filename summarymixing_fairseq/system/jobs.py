"""Jobs, several at a time, each of which runs processes one after the other."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import InputError, printable
from .processes import resident_bytes, started
from .progress import OverwrittenLine

POLL_SECONDS = 0.2
# between two progress messages
SHOW_SECONDS = 30.0
TAIL_LINES = 12
# What a log ends with, before the MiB that the process took at most.
_PEAK = "resident memory at most, MiB: "

# Text on the progress of a job
Describe = Callable[[], str]
# A job: it yields again and again while a process of it runs. It catches what may fail in it.
Job = Generator[Describe, None, None]


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


def environment(device: str, num_threads: int) -> dict[str, str]:
    """Environment of the processes of a job: its threads, and of ``cuda:N`` only that GPU."""
    env = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(num_threads)}
    _, colon, number = device.partition(":")
    if colon:
        visible = env.get("CUDA_VISIBLE_DEVICES", "").split(",")
        env["CUDA_VISIBLE_DEVICES"] = visible[int(number)] if visible != [""] else number
    return env


def run_jobs(
    jobs: Sequence[Job], at_a_time: int, messages: Messages, on_finished: Callable[[], object] = lambda: None
) -> None:
    """Run all jobs to their ends.

    A KeyboardInterrupt or a signal (see ``interrupts``) ends all processes first.

    Args:
        on_finished: called when a job has ended.
    """
    waiting = list(jobs)
    active: dict[Job, Describe] = {}
    last_shown = time.monotonic()
    try:
        while waiting or active:
            for job in list(active):
                describe = next(job, None)
                if describe is not None:
                    active[job] = describe
                else:
                    del active[job]
                    on_finished()
            while waiting and len(active) < at_a_time:
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
        for job in [*active, *waiting]:
            job.close()


def run_process(
    command: Sequence[str],
    output: Path,
    log: Path,
    folder: Path,
    env: Mapping[str, str],
    descriptors: Sequence[int],
    describe: Describe,
) -> Generator[Describe, None, float]:
    """Run a process of a job, and return the seconds that it took. Its log ends with its peak memory.

    Args:
        command: program and arguments; output: file that it has to write.
        log: file that the command and what it prints are appended to.
        folder: its working directory; env: its environment.
        descriptors: open files that it inherits, such as a lock that it has to hold.
        describe: text on how far it is.

    Raises:
        InputError: if it fails or does not write its output, with the end of its log.
    """
    began = time.monotonic()
    with open(log, "ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode())
        file.flush()
        start = file.tell()
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": subprocess.STDOUT}
        with started(command, cwd=folder, env=env, pass_fds=descriptors, **options) as running:
            peak = 0
            while running.poll() is None:
                peak = max(peak, resident_bytes("VmHWM", running.pid))
                yield describe
        if peak and not running.returncode:
            file.write(f"{_PEAK}{peak >> 20}\n".encode())
    if running.returncode or not output.exists():
        reason = f"exit status {running.returncode}" if running.returncode else f"{output.name} was not written"
        raise InputError("\n".join([reason, *last_lines(log, start)]))
    return time.monotonic() - began


def peaks_mib(log: Path) -> list[int]:
    """Peak memory in MiB of each process that ``run_process`` ran to its end with this log, the first first."""
    return [int(peak) for peak in re.findall(rf"(?m)^{_PEAK}(\d+)$", log.read_text(encoding="utf-8", errors="replace"))]


def last_lines(log: Path, start: int) -> list[str]:
    """The last lines of a log, without the bytes before ``start``."""
    with open(log, "rb") as file:
        file.seek(max(start, log.stat().st_size - 8192))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return [f"  | {printable(line)}" for line in lines[-TAIL_LINES:]]
