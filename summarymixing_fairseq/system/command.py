"""From work to an exit status: the one line that a command prints if something is wrong, and its standard streams."""

from __future__ import annotations

import atexit
import io
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

from . import interrupts
from .errors import InputError, printable
from .files import exclusive


def run(name: str, work: Callable[[], object]) -> int:
    """Do some work and return the exit status.

    Returns:
        0 for success; 1 for an error in the user's input or on the disk, told in one line that begins with ``name``;
        130 after Ctrl-C; 141 if the reader of the output (``head``, ``less``) has left.
    """
    try:
        work()
        if sys.stdout is not None:
            sys.stdout.flush()
        return 0
    except InputError as error:
        message = str(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _discard_output()
        return 141  # what a shell gives a command that SIGPIPE has ended
    except OSError as error:
        if error.filename is None:
            _discard_output()
        message = f"{error.filename or 'output'}: {error.strerror or error}"
    print(f"{name}: {printable(message)}", file=sys.stderr)
    return 1


def run_script(work: Callable[[], str | None], dest: Path | None = None) -> int:
    """``run`` for a script: prints the summary that ``work`` returns, and keeps other runs out of ``dest``."""

    def do() -> None:
        with exclusive(dest) if dest else nullcontext():
            summary = work()
        if summary:
            print(summary, flush=True)

    return run("error", do)


def as_script(main: Callable[[], int]) -> NoReturn:
    """Entry point of a command: a signal ends it with one line, and standard streams may be closed.

    OpenMP's threads, of this process and of those that it starts, wait without spinning unless the user says otherwise:
    beside another process that is busy they would take each other's cores.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once torch is imported
    interrupts.install()
    _secure_streams()
    sys.exit(main())


def _secure_streams() -> None:
    """Open closed streams, escape what stdout's encoding lacks, and drop what cannot be written to stderr.

    The next file that is opened would get the number of a closed stream (``2>&-``), and with it all that libraries
    print there. A progress bar that nobody reads, or that a full disk has no room for, is no reason to stop working.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 (until the process ends)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as Python's stderr: names of files may hold any bytes
    atexit.register(_flush_output)
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    raw = io.BufferedWriter(_Droppable(2, "wb", closefd=False))
    sys.stderr = io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)


class _Droppable(io.FileIO):
    def write(self, content: Any) -> int:
        try:
            return super().write(content) or 0
        except OSError:
            return len(content)


def _flush_output() -> None:
    """Before Python does it, which would complain of a closed pipe: argparse prints the help and exits at once."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _discard_output()


def _discard_output() -> None:
    """Send what is still to be written to stdout nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
