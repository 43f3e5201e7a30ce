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

from ..system.errors import InputError

WHOLE_FILE = -1
# 18 digits: what an int64 holds
_ROW = re.compile(rb"([^\t]+)\t *([0-9]{1,18})(?:\t *([0-9]{1,18}))?\s*")
# PATH_MAX with its NUL
_MOST_NAME_BYTES = 4095
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
        self._names = np.frombuffer(names, np.uint8)
        self._ends = np.frombuffer(ends, np.int64)
        self.sizes = np.frombuffer(sizes, np.int64)
        self.offsets = np.frombuffer(offsets, np.int64)
        self._check_names(names)
        self.real_root = None
        if not allow_outside_root:
            self._check_inside(names)
            self.real_root = os.path.realpath(self.root)

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

    # All names at once: there may be ten million, and a look at each takes a third of the time that reading them does.

    def _check_names(self, names: bytearray) -> None:
        nul = names.find(b"\0")
        lengths = np.diff(self._ends, prepend=0)
        if nul >= 0:
            row = self._row_at(nul)
        elif lengths.max() > _MOST_NAME_BYTES:
            row = int((lengths > _MOST_NAME_BYTES).argmax())
        else:
            return
        self._refuse(self._line_of(row), os.fsencode(self.name(row)))

    def _check_inside(self, names: bytearray) -> None:
        absolute = np.flatnonzero(self._names[self._ends[:-1]] == ord("/")) + 1
        outside = [0] if names[0] == ord("/") else absolute[:1].tolist()
        # a look ahead: matches may overlap where one name ends, and the next begins, with a dot
        for match in re.finditer(rb"\.(?=\.)", names):
            row = self._row_at(match.start())
            if _leads_out(os.fsencode(self.name(row))):
                outside.append(row)
                break
        if outside:
            row = min(outside)
            raise OutsideRootError(
                f"{self.path}, line {self._line_of(row)}: {self.name(row)[:80]!r} leads out of the manifest's root; "
                f"if that is meant, {_HOW_TO_ALLOW}"
            )

    def _row_at(self, position: int) -> int:
        """The row that a byte of the names is of."""
        return int(np.searchsorted(self._ends, position, side="right"))

    def _line_of(self, row: int) -> int:
        """Number of a row's line in the file."""
        for position in sorted(self.skipped):
            row += position <= row
        return row + 2

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
