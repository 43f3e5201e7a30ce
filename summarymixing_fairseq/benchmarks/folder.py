"""Where contenders keep files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import partial

from ..system.interrupts import register, uninterrupted


def temporary_folder() -> str:
    """A folder that goes when this process ends, by itself or by a signal."""
    with uninterrupted():
        folder = tempfile.mkdtemp(prefix="summarymixing-benchmark-")
        remove = partial(shutil.rmtree, folder, ignore_errors=True)
        atexit.register(remove)
        register(remove)
    return folder
