"""Lines that fairseq and fairscale write: a user can do nothing about them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def log_warnings_alone() -> None:
    """For a process of ours, before it imports fairseq, which would set the root logger to DEBUG."""
    logging.basicConfig(level=logging.WARNING)
    _no_warnings_of_old_names()


@contextmanager
def root_logger_kept() -> Iterator[None]:
    """For a user's process, around what imports fairseq: the root logger's level and handlers stay as they are."""
    _no_warnings_of_old_names()
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _no_warnings_of_old_names() -> None:
    """fairseq, and fairscale, which it imports where it is installed, use names that torch warns of."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"fairscale\.")
    warnings.filterwarnings("ignore", category=FutureWarning, message=r"`torch\.nn\.utils\.weight_norm` is deprecated")
