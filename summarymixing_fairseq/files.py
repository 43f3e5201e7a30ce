"""Files that appear under their final name only when whole."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import InputError


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an error of the system into one that names the output."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` that takes its place when the block ends well, and is removed otherwise.

    Raises:
        InputError: if the folder or file cannot be written.
    """
    temporary = None
    try:
        with _named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        file = os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}))
        try:
            yield file
        except OSError as error:
            # numpy says "10208 written" where the disk is full; an error with a file's name is not the output's
            if error.filename is None:
                raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
            raise
        finally:
            with _named(path):
                file.close()
        umask = os.umask(0)
        os.umask(umask)
        with _named(path):
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp makes files for their owner alone
            os.replace(temporary, path)
        temporary = None
    finally:
        if temporary is not None:
            os.unlink(temporary)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        InputError: if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    return digest.hexdigest()


def check_writable(folder: Path) -> None:
    """Make a folder for outputs and try a file in it, before hours are spent on what would go there.

    Raises:
        InputError: if it cannot be made or written to.
    """
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass


def refuse_existing(paths: list[Path], force: bool) -> None:
    """Raises InputError if an output is there already and ``--force`` was not given."""
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise InputError(f"{existing[0]} is there already: choose another folder, or overwrite it by --force")
