"""Keeping the own lines of the decoding libraries, libmpg123 and libsndfile, off the terminal.

They write to the process's standard error in C, whatever Python's ``sys.stderr`` is. What they have to say comes as an
exception, or does not matter.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..system import interrupts

_OWN_LINE = re.compile(rb"\[[^\]]*lib(mpg123|sndfile)|(Note|Warning|Error): ")
_STDERR = 2

_lock = threading.Lock()
_num_inside = 0  # blocks that are running, of all threads
_terminal = _held = -1  # descriptors: of what standard error was, and of what is written meanwhile
_forget: Callable[[], object] = int  # unregisters _restore; int does nothing


@contextmanager
def without_native_messages() -> Iterator[None]:
    """Hold back what is written to standard error in the block; afterwards all lines but the libraries' are written."""
    try:
        _enter()
        yield
    finally:
        _leave()


def _enter() -> None:
    global _num_inside, _terminal, _held, _forget
    with _lock:
        _num_inside += 1
        if _num_inside > 1:
            return
        _forget = interrupts.register(_restore)
        try:
            _held = os.memfd_create("stderr")
            _terminal = os.dup(_STDERR)
            os.dup2(_held, _STDERR, inheritable=True)
        except (AttributeError, OSError):  # another system than Linux, or standard error is closed
            _close()


def _leave() -> None:
    global _num_inside
    with _lock:
        _num_inside = max(0, _num_inside - 1)
        if _num_inside:
            return
        _restore()
        _forget()
        if _terminal < 0:
            return
        if os.fstat(_held).st_size:
            os.lseek(_held, 0, os.SEEK_SET)
            with open(_held, "rb", closefd=False) as file:
                kept = b"".join(line for line in file if not _OWN_LINE.match(line))
            with suppress(OSError):
                os.write(_terminal, kept)
        _close()


def _restore() -> None:
    """Without the lock, which the thread that a signal has stopped may hold."""
    if _terminal >= 0:
        os.dup2(_terminal, _STDERR, inheritable=True)


def _close() -> None:
    global _terminal, _held
    for descriptor in (_terminal, _held):
        if descriptor >= 0:
            os.close(descriptor)
    _terminal = _held = -1
