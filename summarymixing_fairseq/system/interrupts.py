"""Ctrl-C, SIGTERM and a closed terminal end a command: one line, no traceback, nothing half written left behind.

A KeyboardInterrupt is raised wherever the interpreter happens to be: a bare ``except``, a callback of a C library or an
import swallows it, or dresses it up as another error. Once ``install`` is called the command ends from within the
signal's handler instead: what has been registered by ``cleanup`` is done, processes of this one are ended, and the exit
status is 128 plus the signal's number, as a shell would have it. Without ``install`` (a library's user, a test) all is
as ever in Python.
"""

from __future__ import annotations

import atexit
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# What another process is given to end by itself, so that its temporary files go too.
_SECONDS_TO_END = 3.0
# And a command that has processes of its own to end first.
_SECONDS_TO_END_OTHERS = 30.0
_POLL_SECONDS = 0.02
# Set for a process whose parent says what has ended both.
_WORDLESS = "SUMMARYMIXING_ENDS_WORDLESS"

_cleanups: dict[object, Callable[[], object]] = {}
_owner: int | None = None
_line = "interrupted"
_held_back = 0
_pending: int | None = None


def install(line: str = "interrupted") -> None:
    """End this process on a signal from now on, with ``line`` on stderr. A signal that is ignored stays so (nohup)."""
    global _owner, _line
    _owner, _line = os.getpid(), "" if _WORDLESS in os.environ else line
    for sign in SIGNALS:
        if signal.getsignal(sign) is not signal.SIG_IGN:
            signal.signal(sign, _on_signal)
    # the last thing at exit: all is done, and Python, which then takes handlers away, would let a signal say otherwise
    atexit.register(_ignore)


def register(callback: Callable[[], object]) -> Callable[[], object]:
    """Have ``callback`` called if a signal ends the process, the last one first; returns what takes that back."""
    key = object()
    _cleanups[key] = callback
    return lambda: _cleanups.pop(key, None)


@contextmanager
def cleanup(callback: Callable[[], object]) -> Iterator[None]:
    """``register``, for the time of a block."""
    forget = register(callback)
    try:
        yield
    finally:
        forget()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold a signal back until the block has ended: for a few system calls that belong together."""
    global _held_back
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread
        return
    _held_back += 1
    try:
        yield
    finally:
        _held_back -= 1
        if not _held_back and _pending is not None:
            _end(_pending)


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A process, and all that it starts, that end with the block and with this process.

    It leads a group of its own: Ctrl-C is this process's matter. Options are those of ``Popen``.
    """
    options["env"] = {**(options.get("env") or os.environ), _WORDLESS: "1"}  # one line is enough
    with uninterrupted():
        process = subprocess.Popen(command, start_new_session=True, **options)
        end = partial(end_group, process, _SECONDS_TO_END_OTHERS)
        forget = register(end)
    try:
        yield process
    except BaseException:
        end()
        raise
    finally:
        process.wait()
        forget()


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess:
    """``subprocess.run`` by ``started``."""
    with started(command, **options) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def end_group(process: subprocess.Popen, seconds: float) -> None:
    """End a process that leads a group (``start_new_session``) and all in it, by force after ``seconds``.

    ``Popen.wait`` holds a lock: a handler that interrupts it must not call it again.
    """
    for sign, wait in ((signal.SIGTERM, seconds), (signal.SIGKILL, math.inf)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, sign)
        until = time.monotonic() + wait
        while process.returncode is None and not _is_reaped(process.pid) and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)


def _is_reaped(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def serve_parent() -> None:
    """In a process of a pool: end on a signal without a word, and with the process that started this one."""
    import multiprocessing

    global _owner
    _owner = None

    for sign in SIGNALS:
        signal.signal(sign, _on_signal)

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Start processes in the block: they do not hear the terminal's Ctrl-C, this one ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)


def _on_signal(number: int, _frame: object) -> None:
    global _pending
    if _held_back:
        _pending = number
    else:
        _end(number)


def _end(number: int) -> None:
    try:
        _ignore()
        for callback in reversed(list(_cleanups.values())):
            with suppress(Exception):
                callback()
        _end_pool()
        if os.getpid() == _owner:
            name = "" if number == signal.SIGINT else f" ({signal.Signals(number).name})"
            os.write(2, (_line_break() + (f"{_line}{name}\n" if _line else "")).encode())
    except Exception:
        pass  # a closed stderr, a module that is just being imported: it ends all the same
    finally:
        os._exit(128 + number)


def _ignore() -> None:
    for sign in SIGNALS:
        signal.signal(sign, signal.SIG_IGN)


def _line_break() -> str:
    """Where a progress bar has left the cursor behind it, or a terminal has written ^C."""
    bars = getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())
    return "\n" if len(bars) or os.isatty(2) else ""


def _end_pool() -> None:
    """End the processes that ``multiprocessing`` has started."""
    active_children = getattr(sys.modules.get("multiprocessing"), "active_children", list)
    children = active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(_SECONDS_TO_END)
        if child.is_alive():
            child.kill()
            child.join()


def _forget() -> None:
    """In a forked process: what is registered is its parent's."""
    global _held_back, _pending
    _cleanups.clear()
    _held_back, _pending = 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
