"""Temporary folders that are removed after a signal too."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from . import interrupts


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder, removed with all that it holds at the end of the block, also if an error or a signal ends it.

    Args:
        prefix: its name begins with this.
        parent: folder that it is made in, which is made too. None: the system's folder for temporary files.
    """
    # the name is known before the folder is there, so that a signal at any moment finds it
    folder = Path(parent or tempfile.gettempdir(), f"{prefix}{secrets.token_hex(8)}")
    with interrupts.cleanup(partial(shutil.rmtree, folder, ignore_errors=True)):
        folder.mkdir(mode=0o700, parents=True)
        yield folder
