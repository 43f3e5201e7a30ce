"""Output files that are whole or not there, temporary folders, and locks that keep a second run out of a folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from .errors import InputError
from .interrupts import cleanup, uninterrupted

LOCK_NAME = ".lock"
# A file's name may have 255 bytes. The name of a temporary file takes this many characters of the final one.
_NAME_CHARACTERS = 50
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)
# Folders in which this process has looked for what killed runs left, so that it looks once.
_tidied: set[str] = set()
# Locks that this process keeps until it ends, by folder.
_held: dict[str, int | None] = {}


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name what cannot be written. numpy's error has no strerror, but says "10208 written" where the disk is full."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path``. It replaces ``path`` when the block ends well, and is removed otherwise.

    Raises:
        InputError: if the folder or file cannot be written.
    """
    # The name is known before the file is there, so that a signal at any moment finds it; random, for several runs.
    temporary = path.with_name(f".{path.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}.tmp")
    options: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}

    def remove() -> None:
        with suppress(OSError):
            temporary.unlink()

    with cleanup(remove):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(path.parent)
            with _locked(temporary):
                with open(temporary, mode, **options) as file:
                    yield file
                os.replace(temporary, path)
        except OSError as error:
            if error.filename is not None and Path(error.filename) not in (temporary, *temporary.parents):
                raise  # the block has failed to read another file
            with _writing(path):
                raise


@contextmanager
def _locked(temporary: Path) -> Iterator[None]:
    """Make a file, and lock it during the block: no other run takes it for a leftover."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(OSError):  # on a file system without locks no run removes leftovers either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # another run has removed it before it was locked
    try:
        yield
    finally:
        os.close(descriptor)


def _names(folder: Path) -> list[str]:
    """Of the files of a folder; none where it may be written to, but not listed."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of ``atomic_write`` whose process was killed: those that nobody has locked.

    Once for each folder in a process: there may be a million files beside them.
    """
    key = os.path.abspath(folder)
    if key in _tidied:
        return
    _tidied.add(key)
    for name in filter(_TEMPORARY.fullmatch, _names(folder)):
        with suppress(OSError):
            descriptor = os.open(folder / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(folder / name)
            finally:
                os.close(descriptor)


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """A new folder, removed with all that it holds at the end of the block, also if an error or a signal ends it.

    Args:
        prefix: its name begins with this.
        parent: folder that it is made in, which is made too. None: the system's folder for temporary files.
    """
    # the name is known before the folder is there, so that a signal at any moment finds it
    folder = Path(parent or tempfile.gettempdir(), f"{prefix}{secrets.token_hex(8)}")
    with cleanup(partial(shutil.rmtree, folder, ignore_errors=True)):
        folder.mkdir(mode=0o700, parents=True)
        yield folder


def write_together(files: Mapping[Path, str | bytes], absent: Iterable[Path] = ()) -> None:
    """Write files that belong together: all are whole before the first one gets its name.

    The last file stands for the set. It is removed first and comes last: where it is, all others are of its run, even
    if the process is killed in between.

    Args:
        files: content by path; absent: files of an earlier set that this one does not have.

    Raises:
        InputError: if one cannot be written; none has been changed then.
    """
    paths = list(files)
    with ExitStack() as stack:
        stack.enter_context(uninterrupted())  # the renames, one after the other, as the stack unwinds
        for path in reversed(paths):
            file = stack.enter_context(atomic_write(path, "w" if isinstance(files[path], str) else "wb"))
            file.write(files[path])
            file.flush()
        for path in (*(paths[-1:] if len(paths) > 1 else ()), *absent):
            with _writing(path):
                path.unlink(missing_ok=True)


def read_text(path: Path, what: str = "", newline: str | None = None) -> str:
    """Content of a text file. ``what``: what it is, for the message; ``newline``: as of ``open``.

    Raises:
        InputError: if it cannot be read or is not UTF-8 text.
    """
    name = f"{what} {path}".strip()
    try:
        with open(path, encoding="utf-8-sig", newline=newline) as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None


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
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def refuse_existing(paths: list[Path], force: bool) -> None:
    """Check the places of outputs before anything is computed.

    Raises:
        InputError: if one is there already and ``--force`` was not given, or, forced or not, if one is a folder, a
            pipe or a device, would need a file for a folder, or has the name of another or of its folder.
    """
    files, folders = set(), {folder for path in paths for folder in path.parents}
    for path in paths:
        if path in files:
            raise InputError(f"{path} would be written twice: name two files")
        if path.is_dir() or path in folders:
            what = "is a folder" if path.is_dir() else "would be a folder too, of another output"
            raise InputError(f"{path} {what}: no file can be written there, choose another name or place")
        if path.exists() and not path.is_file():  # as /dev/null, which a file would take the place of
            raise InputError(f"{path} is a pipe or a device: name a file")
        files.add(path)
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file: nothing can be written below it, choose another name or place")
    existing = [path for path in paths if path.exists()]
    if existing and not force:
        raise InputError(f"{existing[0]} is there already: choose another place, or overwrite it by --force")


# Locks are our own and not filelock's: that one leaves its file behind, has no public descriptor to hand to a child
# process, and where there is no flock it turns to a file that blocks for ever after `kill -9`.


@contextmanager
def exclusive(folder: Path, what: str = "another run") -> Iterator[int | None]:
    """Lock a folder for outputs during the block; the folder is made if it is not there.

    The lock ends with the process, however that ends. A file system without locks is used without one. A lock file
    that holds anything is another program's: it is locked too, but stays.

    Args:
        folder: where outputs go; what: the run that is refused, for the message.

    Yields:
        The lock's descriptor: a child process that inherits it holds the lock too. None where there are no locks.

    Raises:
        InputError: if another process holds the lock, or the folder cannot be written.
    """
    path, is_new = folder / LOCK_NAME, not folder.exists()

    def remove() -> None:
        # While it is locked: a process that has opened it meanwhile sees that it is gone, and tries again.
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and not status.st_size:
                path.unlink()
            if is_new:
                folder.rmdir()  # if nothing has been written to it

    with ExitStack() as stack:
        with uninterrupted():  # a signal finds either no lock, or what removes it
            descriptor = _lock(folder, what)
            if descriptor is not None:
                stack.callback(os.close, descriptor)
            stack.enter_context(cleanup(remove))
        yield descriptor


def hold_lock(folder: Path, what: str = "another run") -> None:
    """Lock as ``exclusive`` does, until this process ends. A second call changes nothing, in a forked process either.

    Forked data workers do not hold the lock: they live on for seconds when a training is killed.

    Raises:
        InputError: if another process holds the lock, or the folder cannot be written.
    """
    key = os.path.realpath(folder)
    if key not in _held:
        _held[key] = _lock(folder, what)


def _close_held_locks() -> None:
    """In a forked process: the locks are its parent's."""
    for key, descriptor in _held.items():
        if descriptor is not None:
            os.close(descriptor)
            _held[key] = None


os.register_at_fork(after_in_child=_close_held_locks)


def _lock(folder: Path, what: str) -> int | None:
    path = folder / LOCK_NAME
    while True:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return descriptor
            os.close(descriptor)  # its last holder has removed it meanwhile: lock the new one
        except OSError as error:
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return None  # a file system without locks
            raise InputError(
                f"{what} is writing to {folder}: wait for it, end it (fuser {path} names its processes), or choose "
                "another folder"
            ) from None
