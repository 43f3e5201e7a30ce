"""Standard streams that are closed, or whose reader leaves while a command is at work."""

from __future__ import annotations

import atexit
import io
import os
import sys
from contextlib import suppress


def secure() -> None:
    """Give a process three streams to go on with.

    A stream that is closed (``2>&-``) becomes /dev/null: the next file that is opened would get its number otherwise,
    and with it whatever a library has to say. What cannot be written to stderr is dropped: a progress bar that nobody
    reads, or that a full disk has no room for, is no reason to end the work.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    atexit.register(_flush_output)
    raw = io.BufferedWriter(_Droppable(2, "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)


def _flush_output() -> None:
    """What argparse has printed before it ended the process: Python itself would complain of a closed pipe."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        abandon_output()


def abandon_output() -> None:
    """Let what is still to be written to stdout, at exit too, go nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Droppable(io.FileIO):
    def write(self, content: bytes) -> int:
        try:
            return super().write(content) or 0
        except OSError:
            return len(content)
