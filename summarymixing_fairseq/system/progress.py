"""Progress: one line that is overwritten on a terminal, now and then a line in a log."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

# Between two lines of progress in a log.
LOG_SECONDS = 30


class OverwrittenLine:
    """A line on stderr, cut to the terminal's width. An empty text takes it away."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, text: str) -> None:
        """Write a text over the one before."""
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text.ljust(self._width)}", end="" if text else "\r", file=sys.stderr, flush=True)
        self._width = len(text)


def progress_line() -> Callable[[str], None]:
    """Shows what is being done: one line that changes on a terminal, else a new line every half a minute."""
    line, last = OverwrittenLine(), time.monotonic()

    def show(text: str) -> None:
        nonlocal last
        if sys.stderr.isatty():
            line.show(text)
        elif text and time.monotonic() - last > LOG_SECONDS:
            print(text, file=sys.stderr, flush=True)
            last = time.monotonic()

    return show
