"""fairseq's manifests: the root folder, then a row of relative path, tab, number of samples per clip.

A third column, the first sample, makes a row a part of a longer file. Both count samples at the manifest's rate.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

WHOLE_FILE = -1
# 18 digits: what an int64 holds
_ROW = re.compile(rb"([^\t]+)\t *([0-9]{1,18})(?:\t *([0-9]{1,18}))?\s*")


@dataclass(frozen=True)
class Clip:
    """A row of a manifest: ``name`` is its path relative to the root; ``offset`` None: a whole file."""

    path: Path
    name: str
    num_samples: int
    offset: int | None = None


class Manifest(Sequence):
    """The rows of a manifest in a few arrays, which data workers share, as they would not ten million Python strings.

    Args:
        path: of the manifest; min_samples: leave shorter clips out.

    Attributes:
        root: folder that the paths are relative to.
        sizes: (rows,) int64, samples of each clip; offsets: (rows,) int64, first samples, or ``WHOLE_FILE``.
        skipped: positions in the file of the rows that were left out.

    Raises:
        InputError: for a manifest that is missing or not text, has no row, or a row that is not path, tab, number of
            samples and perhaps the first sample.
    """

    def __init__(self, path: Path, min_samples: int = 0):
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

    def _read_root(self, line: bytes) -> None:
        try:
            self.root = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise InputError(f"manifest {self.path} is not UTF-8 text: is it a manifest at all?") from None

    def _refuse(self, number: int, line: bytes) -> None:
        shown = line.decode("utf-8", "replace").strip()[:80]
        raise InputError(
            f"{self.path}, line {number}: {shown!r} is not path, tab, number of samples (tab, first sample); "
            "make the manifest again (python manifests/make_manifest.py)"
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
        return Clip(Path(self.root, name), name, int(self.sizes[index]), None if offset == WHOLE_FILE else offset)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))


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
