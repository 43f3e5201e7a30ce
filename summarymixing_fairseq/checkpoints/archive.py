"""The zip archive that ``torch.save`` writes: whether a file is one, is whole, and unpacks to no more than it has."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path

from ..system.errors import InputError

_MAGIC = b"PK\x03\x04"
# The end of an archive, from its last byte: its end record, with no comment; before it, where the archive is of the
# 64-bit form, where that form's own record is, and this record.
_END = struct.Struct("<4s8xLLH")  # signature, size and place of the directory, length of the comment
_LOCATOR = struct.Struct("<4s4xQ4x")  # signature, place of the record
_END_64 = struct.Struct("<4s36xQQ")  # signature, size and place of the directory


def is_archive(path: Path) -> bool:
    """Whether torch reads a file as an archive: it asks the first four bytes, where Python's zipfile asks the last.

    Raises:
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def check_archive(path: Path) -> None:
    """Look through an archive, the checksums of all that it holds included.

    torch checks none of them: most flipped bits would become another weight.

    Raises:
        InputError: for an archive that is cut or changed anywhere, or that would unpack to more than its own size.
    """
    try:
        _check_end(path)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            unpacked = sum(member.file_size for member in members)
            if unpacked > path.stat().st_size:
                raise InputError(f"{path} unpacks to {unpacked} bytes, more than it has: refused")
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise InputError(f"{path} is a compressed archive, which torch.save does not write: refused")
            changed = archive.testzip()
    except InputError:
        raise
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise _damaged(path, f"its archive is not whole ({error})") from None
    if changed is not None:
        raise _damaged(path, f"the checksum of {changed} in it is another one")


def _check_end(path: Path) -> None:
    """Raises BadZipFile unless the archive ends as torch writes it, so that torch and zipfile find one directory."""
    with open(path, "rb") as file:
        at = file.seek(0, os.SEEK_END) - _END.size
        file.seek(max(0, at - _LOCATOR.size - _END_64.size))
        tail = file.read().rjust(_END_64.size + _LOCATOR.size + _END.size, b"\0")
    signature, size, place, comment = _END.unpack(tail[-_END.size :])
    if signature != b"PK\x05\x06" or comment:
        raise zipfile.BadZipFile("no end: cut short, or something follows it")
    before = tail[: -_END.size]
    signature, place_64 = _LOCATOR.unpack(before[-_LOCATOR.size :])
    if signature == b"PK\x06\x07":
        at -= _LOCATOR.size + _END_64.size
        signature, size, place = _END_64.unpack(before[: _END_64.size])
        if place_64 != at or signature != b"PK\x06\x06":
            raise zipfile.BadZipFile("two ends")
    if place + size != at:
        raise zipfile.BadZipFile("something stands before it or in it")


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path} is damaged: {reason}: copy it again, or take an earlier checkpoint")
