"""Lines that fairseq and fairscale write: a user can do nothing about them."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def log_warnings_alone() -> None:
    """For a process of ours, before fairseq is imported: it logs at DEBUG from then on, every library's lines too."""
    logging.basicConfig(level=logging.WARNING)
    _no_warnings_of_old_names()


@contextmanager
def root_logger_kept() -> Iterator[None]:
    """For a user's process, around what imports fairseq: the root logger is as before afterwards."""
    _no_warnings_of_old_names()
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _no_warnings_of_old_names() -> None:
    """fairseq imports it where it is installed, and it warns of old names in torch. fairseq itself uses one, too."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"fairscale\.")
    warnings.filterwarnings("ignore", category=FutureWarning, message=r"`torch\.nn\.utils\.weight_norm` is deprecated")
