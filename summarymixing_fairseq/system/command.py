"""From work to an exit status: what a command or a script prints when something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from . import interrupts, streams
from .errors import InputError, printable
from .files import exclusive

# The status that a shell gives a command which SIGPIPE has ended.
BROKEN_PIPE = 141


def run(name: str, work: Callable[[], object]) -> int:
    """Do some work and return the exit status.

    0 is success, 1 an error in the user's input or on the disk, told in one line that begins with ``name``; 130 follows
    Ctrl-C, and 141 a reader of the output (``head``, ``less``) that has left.
    """
    try:
        work()
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        return _fail(name, str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        streams.abandon_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.filename is None:
            streams.abandon_output()
        return _fail(name, f"{error.filename or 'output'}: {error.strerror or error}")
    return 0


def _fail(name: str, message: str) -> int:
    print(f"{name}: {printable(message)}", file=sys.stderr)
    return 1


def run_script(work: Callable[[], str | None], dest: Path | None = None) -> int:
    """``run`` for a script: it prints the summary that ``work`` returns, and keeps others out of ``dest``."""

    def do() -> None:
        with exclusive(dest) if dest else nullcontext():
            summary = work()
        if summary:
            print(summary, flush=True)

    return run("error", do)


def as_script(main: Callable[[], int]) -> NoReturn:
    """Entry point of a command: signals end it with one line, and closed streams do no harm."""
    interrupts.install()
    streams.secure()
    sys.exit(main())
