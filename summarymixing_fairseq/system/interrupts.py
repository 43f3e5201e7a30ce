"""End a command cleanly on Ctrl-C, SIGTERM or a closed terminal: one line, no traceback, no partial file, no process.

Python's own KeyboardInterrupt can be swallowed: by a bare ``except``, a callback from C, an import. So ``install`` sets
a handler that ends the process itself, with status 128 + signal. Without ``install`` Python behaves as usual.

A training has something to save first: after ``note`` a first signal is only noted, and the training asks for it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SILENT = "SUMMARYMIXING_ENDS_SILENTLY"  # set for a command that another one has started, which prints the line

_cleanups: dict[object, Callable[[], object]] = {}
_owner, _line = 0, ""  # the process that prints, and what
_noted = 0  # the signal that a training is to end by
_held_back, _pending = 0, 0  # blocks of ``uninterrupted`` that are open, and the signal that waits for their end


def install(line: str = "interrupted") -> None:
    """From now on end this process on a signal, with ``line`` on stderr.

    Signals that are ignored (nohup) or that another handler is set for stay so.
    """
    _handle_by(end, line)
    # at exit Python takes the handlers away: a late signal would change the status of a command that is done
    atexit.register(ignore)


def note(line: str) -> None:
    """From now on only note a first signal, for ``noted``. A second one ends this process, with ``line`` on stderr.

    Processes that this one forks from now on hear of no signal that is sent to a group, as by Ctrl-C: they serve this
    one until its end.
    """
    _handle_by(_note, line)


def noted() -> int:
    """Number of the signal that was noted in this process, 0 for none."""
    return _noted


def _handle_by(handler: Callable[[int, object], None], line: str) -> None:
    global _owner, _line
    if threading.current_thread() is not threading.main_thread():
        return  # Python sets handlers there alone
    _owner, _line = os.getpid(), "" if SILENT in os.environ else line
    for number in SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler, end, _note):
            signal.signal(number, handler)


def _note(number: int, _frame: object = None) -> None:
    global _noted
    if os.getpid() != _owner:
        return
    if _noted:
        end(number)
    _noted = number
    if os.isatty(2):
        with suppress(OSError):
            os.write(2, b"\nending after this update; once more to end at once\n")


def register(callback: Callable[[], object]) -> Callable[[], object]:
    """Have ``callback`` called if a signal ends the process, the latest first. Returns a function that undoes this."""
    key = object()
    _cleanups[key] = callback
    return lambda: _cleanups.pop(key, None)


@contextmanager
def cleanup(callback: Callable[[], object]) -> Iterator[None]:
    """Call ``callback`` at the end of the block, also if an error or a signal ends it."""
    forget = register(callback)
    try:
        yield
    finally:
        callback()
        forget()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Handle a signal only after the block: for a few system calls that belong together."""
    global _held_back
    in_main = threading.current_thread() is threading.main_thread()  # where handlers run
    _held_back += in_main
    try:
        yield
    finally:
        _held_back -= in_main
        if in_main and not _held_back and _pending:
            end(_pending)


def end(number: int, _frame: object = None) -> None:
    """End this process as signal ``number`` asks for; also the handler itself."""
    global _pending
    if _held_back:
        _pending = number
        return
    try:
        ignore()
        for callback in reversed(list(_cleanups.values())):
            with suppress(Exception):
                callback()
        children: list = getattr(sys.modules.get("multiprocessing"), "active_children", list)()  # pools, data workers
        for child in children:
            child.terminate()
        for child in children:
            child.join(3)  # seconds, to remove its temporary files
            child.kill()
        if os.getpid() == _owner:
            # a new line after a progress bar or the terminal's ^C
            bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
            start = "\n" if len(bars) or os.isatty(2) else ""
            name = "" if number == signal.SIGINT else f" ({signal.Signals(number).name})"
            os.write(2, (start + (f"{_line}{name}\n" if _line else "")).encode())
    finally:
        os._exit(128 + number)  # whatever went wrong: a closed stderr, a module that is being imported just now


def ignore() -> None:
    """From now on no signal ends this process: it ends by itself."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _begin_fork() -> None:
    _cleanups.clear()  # what is registered belongs to the parent
    if _note in map(signal.getsignal, SIGNALS):
        with suppress(OSError):
            os.setpgrp()


os.register_at_fork(after_in_child=_begin_fork)
