"""Commands as processes with logs, which end with this one."""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError

SECONDS_TO_END = 10
TAIL_LINES = 12


class LoggedProcess:
    """A command in a process group of its own, so that its data workers end with it; output goes to the end of a log.

    Args:
        command: a list, no shell has a part in it.
        log: file; folder: to work in; environment: all of it.
        descriptors: open files that the process gets, as a lock that is to last as long as it does.
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

    @property
    def seconds(self) -> float:
        """Since it started."""
        return time.monotonic() - self._started

    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def tail(self) -> str:
        """The last lines of what this process wrote."""
        with open(self._log, "rb") as file:
            file.seek(max(self._start, self._log.stat().st_size - 8192))
            lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  | {line}" for line in lines[-TAIL_LINES:])

    def stop(self) -> None:
        """End the process and those that it started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, sign)
            try:
                self._process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                continue
        self._process.wait()


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM and a closed terminal end the block as Ctrl-C does: the processes are in groups of their own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    earlier = {}
    for sign in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(sign) == signal.SIG_DFL:  # nohup has it ignored
            earlier[sign] = signal.signal(sign, interrupt)
    try:
        yield
    finally:
        for sign, handler in earlier.items():
            signal.signal(sign, handler)


@contextmanager
def sole_user(folder: Path) -> Iterator[int]:
    """Refuse a second command in a folder.

    Yields:
        The lock's descriptor. A process that gets it holds the lock too: one that outlives a command that was killed
        still writes there.

    Raises:
        InputError: if another one is at work there.
    """
    path = folder / ".lock"
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another command, or a training that an interrupted one left behind, is at work in {folder}: wait for "
                f"it, end it (fuser {path} names its processes), or change --results"
            ) from None
        except OSError:
            pass  # a file system without locks
        yield file.fileno()
