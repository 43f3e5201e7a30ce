"""Files that lie uncompressed in a zip or tar archive, read by their place in it: FILE.tar:OFFSET:LENGTH."""

from __future__ import annotations

import functools
import os
import stat
import tarfile
from contextlib import suppress

# Archives that a process keeps open: to open one is what takes time where there are many files.
_MOST_OPEN = 16
# Of an archive that is read ahead: a longer one would drive the others out of memory.
_MOST_READ_AHEAD = 2**30


class _Open:
    """An open file, closed with its last reference. Forked data workers share it: it has no position of its own."""

    def __init__(self, path: str):
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):  # opening it may have failed
            os.close(self.descriptor)


@functools.lru_cache(maxsize=_MOST_OPEN)
def _opened(path: str, *identity: int) -> _Open:
    """The file of that device, inode, size and time of change."""
    return _Open(path)


def read_member(archive: str, position: str) -> bytes:
    """The bytes of a file in an archive.

    Args:
        archive: path of a .zip or .tar; position: ``OFFSET:LENGTH`` in bytes.

    Raises:
        OSError: for an archive that is missing, or no regular file; ValueError: for bytes that it does not have, or in
            a tar where no file of that length begins.
    """
    offset, length = map(int, position.split(":"))
    is_tar = archive.endswith(".tar")
    before = tarfile.BLOCKSIZE if is_tar else 0  # a file's header stands before it
    status = os.stat(archive)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe may never end
        raise OSError(f"{archive} is no file")
    if not before <= offset <= offset + length <= status.st_size:
        what = ": is it truncated, or another than when its index was made?" if is_tar else ""
        raise ValueError(f"{archive} does not have these bytes{what}")
    opened = _opened(archive, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    content = os.pread(opened.descriptor, before + length, offset - before)
    if len(content) < before + length:
        raise ValueError(f"{archive} does not have these bytes")
    if is_tar and not _begins_file(content[:before], length):
        raise ValueError(
            f"{archive} has changed since its index was made: make the index again (summarymixing manifest shards "
            "--index)"
        )
    return content[before:]


def _begins_file(header: bytes, length: int) -> bool:
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return member.isreg() and member.size == length


@functools.lru_cache(maxsize=4 * _MOST_OPEN)
def read_ahead(archive: str, epoch: int) -> None:
    """Have the system read an archive into its memory from one end to the other, once a process and epoch.

    Returns at once. Without effect where the system cannot.
    """
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError), open(archive, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, _MOST_READ_AHEAD, os.POSIX_FADV_WILLNEED)
