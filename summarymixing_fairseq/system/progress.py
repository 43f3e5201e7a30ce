"""Progress on a terminal: one line that is overwritten."""

from __future__ import annotations

import shutil
import sys


class OverwrittenLine:
    """A line on stderr, cut to the terminal's width. An empty text takes it away."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, text: str) -> None:
        """Write a text over the one before."""
        text = text[: shutil.get_terminal_size().columns - 1]
        print(f"\r{text.ljust(self._width)}", end="" if text else "\r", file=sys.stderr, flush=True)
        self._width = len(text)
