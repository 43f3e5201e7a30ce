"""Processes that write to logs, and that end when this process ends."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...system.interrupts import register, uninterrupted
from ...system.processes import end_group

SECONDS_TO_END = 10
TAIL_LINES = 12


class LoggedProcess:
    """A command that appends its output to a log. It has a process group of its own: its data workers end with it.

    Args:
        command: list of arguments, run without a shell.
        log: file; folder: working directory; environment: all of it.
        descriptors: open files that the process inherits, such as a lock that it has to hold.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        folder: Path,
        environment: Mapping[str, str],
        descriptors: Sequence[int] = (),
    ):
        self._log = log
        self._started = time.monotonic()
        with open(log, "ab") as file:
            file.write(f"$ {shlex.join(command)}\n".encode())
            file.flush()
            self._start = file.tell()
            with uninterrupted():
                self._process = subprocess.Popen(
                    list(command),
                    cwd=folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=descriptors,
                )
                self._forget = register(self.stop)

    @property
    def seconds(self) -> float:
        """Time since it started."""
        return time.monotonic() - self._started

    def status(self) -> int | None:
        """Exit status; None while it runs."""
        status = self._process.poll()
        if status is not None:
            self._forget()
        return status

    def tail(self) -> str:
        """The last lines that this process wrote."""
        with open(self._log, "rb") as file:
            file.seek(max(self._start, self._log.stat().st_size - 8192))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])

    def stop(self) -> None:
        """End the process and its children."""
        end_group(self._process, SECONDS_TO_END)
        self._forget()
