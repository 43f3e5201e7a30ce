"""Files that appear under their final name only when whole."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import InputError
from .interrupts import cleanup, uninterrupted

try:
    import fcntl
except ImportError:  # not on Windows: folders are not locked there
    fcntl = None

LOCK_NAME = ".lock"
# A file's name may have 255 bytes: of one as long, the temporary file takes the beginning.
_LONGEST_NAME = 50
# Locks that this process keeps until it ends, by folder.
_held: dict[str, int | None] = {}


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
    with _named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # named before it is made, so that a signal at whatever moment finds it; random, for runs at the same time
    temporary = path.with_name(f".{path.name[:_LONGEST_NAME]}.{secrets.token_hex(8)}.tmp")

    def remove() -> None:
        with suppress(OSError):
            temporary.unlink()

    with cleanup(remove):
        try:
            with _named(path):
                file = open(temporary, mode.replace("w", "x"), **_text_options(mode))  # noqa: SIM115
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
            with _named(path):
                os.replace(temporary, path)
        except BaseException:
            remove()
            raise


def _text_options(mode: str) -> dict[str, str]:
    return {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}


def write_together(files: Mapping[Path, str | bytes], absent: Iterable[Path] = ()) -> None:
    """Write files that belong together: all are whole before the first of them takes its place.

    The last one stands for the set: it goes first and comes last, so that where it is, all others are of its run, even
    if the process is killed in between.

    Args:
        files: content by path. absent: files of an earlier set that this one does not have.

    Raises:
        InputError: if one cannot be written; none has been changed then.
    """
    last = next(reversed(files), None)
    with ExitStack() as stack:
        # as the stack unwinds, renames come one after the other: no signal in between
        stack.enter_context(uninterrupted())
        for path, content in reversed(files.items()):
            file = stack.enter_context(atomic_write(path, "w" if isinstance(content, str) else "wb"))
            file.write(content)
            file.flush()
        for path in (*([last] if len(files) > 1 else ()), *absent):
            with _named(path):
                path.unlink(missing_ok=True)


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
    existing = [path for path in paths if path.exists() and not path.is_dir()]
    if existing and not force:
        raise InputError(f"{existing[0]} is there already: choose another place, or overwrite it by --force")


@contextmanager
def exclusive(folder: Path, what: str = "another run") -> Iterator[int | None]:
    """Refuse another command in a folder for outputs while the block runs; the folder is made if it is not there.

    The lock goes with the process, however that ends. A file system without locks is gone on with as if there were one.

    Args:
        folder: that is written to. what: is refused, for the message.

    Yields:
        The lock's descriptor: a process that is given it holds the lock too. None where there are no locks.

    Raises:
        InputError: if another command is at work there, or the folder cannot be written.
    """
    path, is_new = folder / LOCK_NAME, not folder.exists()
    descriptor = _lock(folder, what)

    def remove() -> None:
        # while it is locked: who has opened it meanwhile sees that it is another one, and tries again
        with suppress(OSError):
            path.unlink(missing_ok=True)
            if is_new:
                folder.rmdir()  # if nothing has been written to it

    with cleanup(remove):
        try:
            yield descriptor
        finally:
            remove()
            if descriptor is not None:
                os.close(descriptor)


def hold_lock(folder: Path, what: str = "another run") -> None:
    """As ``exclusive``, until this process ends; asking again changes nothing, here or in a process that it has forked.

    Data workers, which are forked and live on for seconds when a training is killed, do not hold the lock.

    Raises:
        InputError: if another command is at work there, or the folder cannot be written.
    """
    key = os.path.realpath(folder)
    if key not in _held:
        _held[key] = _lock(folder, what)


def _let_go() -> None:
    """In a forked process: the lock is its parent's."""
    for key, descriptor in _held.items():
        if descriptor is not None:
            os.close(descriptor)
            _held[key] = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def _lock(folder: Path, what: str) -> int | None:
    path = folder / LOCK_NAME
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        return None
    while True:
        with _named(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same(descriptor, path):
                return descriptor
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return None  # a file system without locks
            raise InputError(
                f"{what} is writing to {folder}: wait for it, end it (fuser {path} names its processes), or choose "
                "another folder"
            ) from None
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether a path still leads to an open file: its last holder removes it."""
    opened = os.fstat(descriptor)
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)
