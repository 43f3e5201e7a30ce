"""fairseq's manifests: the root folder, then a row of relative path, tab, number of samples per clip.

A third column, the first sample, makes a row a part of a longer file. Both count samples at the manifest's rate.
"""

from __future__ import annotations

import os
import posixpath
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError

WHOLE_FILE = -1
# 18 digits: what an int64 holds. No file's name has a NUL.
_ROW = re.compile(rb"([^\t\0]+)\t *([0-9]{1,18})(?:\t *([0-9]{1,18}))?\s*")
_SLASH = ord("/")
_HOW_TO_ALLOW = "--allow-outside-root (training: task.allow_outside_root=true) reads it all the same"


class OutsideRootError(InputError):
    """A row that leads out of its manifest's root. Never a bad clip that another may stand in for."""


@dataclass(frozen=True)
class Clip:
    """A row of a manifest: ``name`` is its path relative to the root; ``offset`` None: a whole file.

    ``real_root`` is the folder that the file must lie in once all links are followed; None: it may lie anywhere.
    """

    path: Path
    name: str
    num_samples: int
    offset: int | None = None
    real_root: str | None = field(default=None, compare=False, repr=False)

    def check_inside(self) -> None:
        """Raises OutsideRootError for a file that links lead out of the manifest's root to: call it before opening."""
        check_inside(self.path, self.real_root)


class Manifest(Sequence):
    """The rows of a manifest in a few arrays, which data workers share, as they would not ten million Python strings.

    Args:
        path: of the manifest; min_samples: leave shorter clips out.
        allow_outside_root: take rows that lead out of the root; else they are refused, those that do by links when
            they are read (``Clip.check_inside``).

    Attributes:
        root: folder that the paths are relative to; real_root: the same without links, or None where rows may lead out.
        sizes: (rows,) int64, samples of each clip; offsets: (rows,) int64, first samples, or ``WHOLE_FILE``.
        skipped: positions in the file of the rows that were left out.

    Raises:
        InputError: for a manifest that is missing or not text, has no row, or a row that is not path, tab, number of
            samples and perhaps the first sample; OutsideRootError for a path that is absolute or climbs out by `..`.
    """

    def __init__(self, path: Path, min_samples: int = 0, allow_outside_root: bool = False):
        self.path = Path(path)
        self.skipped: set[int] = set()
        names = bytearray()  # of all rows, one after the other
        ends, sizes, offsets = array("q"), array("q"), array("q")
        try:
            with open(self.path, "rb") as file:
                self._read_root(file.readline())
                for number, line in enumerate(file):
                    row = _ROW.fullmatch(line)
                    if row is None:
                        self._refuse(number + 2, line)
                    name, size, offset = row.groups()
                    # two looks at the bytes: there may be ten million rows
                    if (name[0] == _SLASH or b".." in name) and not allow_outside_root and _leads_out(name):
                        self._refuse_outside(number + 2, name)
                    if int(size) < min_samples:
                        self.skipped.add(number)
                        continue
                    names += name
                    ends.append(len(names))
                    sizes.append(int(size))
                    offsets.append(WHOLE_FILE if offset is None else int(offset))
        except OSError as error:
            raise InputError(
                f"manifest {path} cannot be read ({error.strerror}): make it with python manifests/make_manifest.py "
                "AUDIO_DIR --dest DIR"
            ) from None
        if not len(sizes):
            what = f"no row of {min_samples} samples or more" if self.skipped else "no row"
            raise InputError(f"manifest {path} has {what}: is the audio folder it was made from empty?")
        self.real_root = None if allow_outside_root else os.path.realpath(self.root)
        self._names = np.frombuffer(names, np.uint8)
        self._ends = np.frombuffer(ends, np.int64)
        self.sizes = np.frombuffer(sizes, np.int64)
        self.offsets = np.frombuffer(offsets, np.int64)

    def _read_root(self, line: bytes) -> None:
        try:
            self.root = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise InputError(f"manifest {self.path} is not UTF-8 text: is it a manifest at all?") from None
        if "\0" in self.root:
            raise InputError(f"manifest {self.path} names a root with a NUL byte in it: is it a manifest at all?")

    def _refuse(self, number: int, line: bytes) -> None:
        shown = line.decode("utf-8", "replace").strip()[:80]
        raise InputError(
            f"{self.path}, line {number}: {shown!r} is not path, tab, number of samples (tab, first sample); "
            "make the manifest again (python manifests/make_manifest.py)"
        )

    def _refuse_outside(self, number: int, name: bytes) -> None:
        shown = name.decode("utf-8", "replace")[:80]
        raise OutsideRootError(
            f"{self.path}, line {number}: {shown!r} leads out of the manifest's root; if that is meant, {_HOW_TO_ALLOW}"
        )

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        """Path of a row, 0 or more, relative to the root."""
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._names[start : self._ends[index]].tobytes())

    def __getitem__(self, index: int) -> Clip:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        name, offset = self.name(index), int(self.offsets[index])
        start = None if offset == WHOLE_FILE else offset
        return Clip(Path(self.root, name), name, int(self.sizes[index]), start, self.real_root)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))


def _leads_out(name: bytes) -> bool:
    """Whether a path is absolute or, its links left aside, climbs out of the folder it is relative to."""
    normal = posixpath.normpath(name)
    return name.startswith(b"/") or normal == b".." or normal.startswith(b"../")


def zip_and_position(path: Path) -> tuple[str, str]:
    """The zip file and the ``OFFSET:LENGTH`` of FILE.zip:OFFSET:LENGTH; of any other path itself and ""."""
    text = str(path)
    archive, _, position = text.partition(".zip:")
    return (archive + ".zip", position) if position and not os.path.exists(text) else (text, "")


def check_inside(path: Path, real_root: str | None) -> None:
    """Check that a file, or the zip that it is stored in, lies in a folder whatever links lead to it.

    Args:
        path: of the file, as a manifest names it; real_root: the folder, without links itself; None: any.

    Raises:
        OutsideRootError: naming the file and where it really is.
    """
    if real_root is None:
        return
    file, _ = zip_and_position(path)
    real = os.path.realpath(file)
    if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
        raise OutsideRootError(
            f"{path} is a link out of the manifest's root, to {real}; if that is meant, {_HOW_TO_ALLOW}"
        )


def read_labels(path: Path, num_clips: int) -> list[str]:
    """Lines of a label file beside a manifest of ``num_clips`` rows.

    Raises:
        InputError: for a file that is missing or has another number of lines.
    """
    try:
        labels = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"labels {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"labels {path} are not UTF-8 text") from None
    if labels and labels[-1] == "":
        labels.pop()
    if len(labels) != num_clips:
        raise InputError(f"{path} has {len(labels)} lines, its manifest {num_clips} rows: make both again")
    return labels
