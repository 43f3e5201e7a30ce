"""Processes that end with this one, together with all that they have started."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from . import interrupts

# A command may have processes of its own to end first.
_SECONDS_TO_END = 30.0


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """Run a process during the block. It ends with the block and with this process, as does all that it has started.

    It leads a process group of its own, so that the terminal sends Ctrl-C to this process alone.

    Args:
        command: program and arguments; options: of ``subprocess.Popen``.
    """
    options["env"] = {**(options.get("env") or os.environ), interrupts.SILENT: "1"}
    with interrupts.uninterrupted():
        process = subprocess.Popen(command, start_new_session=True, **options)
        end = partial(end_group, process)
        forget = interrupts.register(end)
    try:
        yield process
    except BaseException:
        end()
        raise
    finally:
        process.wait()
        forget()


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess:
    """``subprocess.run``, by ``started``."""
    with started(command, **options) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def end_group(process: subprocess.Popen) -> None:
    """End a process that leads a group, and all in the group: by SIGTERM, and after a while by SIGKILL."""
    for number, wait in ((signal.SIGTERM, _SECONDS_TO_END), (signal.SIGKILL, math.inf)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        until = time.monotonic() + wait
        while process.returncode is None and not _is_reaped(process.pid) and time.monotonic() < until:
            time.sleep(0.02)


def _is_reaped(child: int) -> bool:
    # not Popen.wait: a signal may have interrupted just that, which leaves its lock held
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def resident_bytes(field: str = "VmRSS", pid: int | str = "self") -> int:
    """Resident memory of a process, this one by default: ``VmRSS`` now, ``VmHWM`` at its peak; 0 without /proc."""
    with suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":")), 0)
    return 0
