"""fairseq's manifests: a line with the root folder, then one row a clip: relative path, tab, number of samples.

A third column, the first sample, makes a row a part of a longer file. Both count samples at the manifest's rate.
"""

from __future__ import annotations

import itertools
import os
import posixpath
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.files import read_text

WHOLE_FILE = -1
# A path has 4,095 bytes at most and no NUL. 18 digits are what an int64 holds.
_ROW = re.compile(rb"([^\t\0]{1,4095})\t *([0-9]{1,18})(?:\t *([0-9]{1,18}))?\s*")
_HOW_TO_ALLOW = "--allow-outside-root (training: +task.allow_outside_root=true) reads it all the same"


class OutsideRootError(InputError):
    """A row that leads out of its manifest's root. A training stops at it; any other bad clip is replaced."""


@dataclass(frozen=True)
class Clip:
    """A row of a manifest, or an audio file that a command names.

    Attributes:
        path: of the file; name: the path relative to the manifest's root, or as the command names it.
        num_samples: length that the manifest says, 0 where none does; offset: first sample of a part of a file, or None
            for a whole file.
        real_root: folder that the file must lie in once all links are followed, or None if it may lie anywhere.
        content: the file itself, where it lies in memory.
    """

    path: Path
    name: str
    num_samples: int = 0
    offset: int | None = None
    real_root: str | None = field(default=None, compare=False, repr=False)
    content: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def output_name(self) -> str:
        """``name``, with the first sample before its extension where the clip is a part of a file."""
        stem, extension = os.path.splitext(self.name)
        return self.name if self.offset is None else f"{stem}_{self.offset:010}{extension}"

    @property
    def part(self) -> tuple[int, int | None]:
        """First sample and number of samples, as ``read_segment`` takes them."""
        return (0, None) if self.offset is None else (self.offset, self.num_samples)

    def check_inside(self) -> None:
        """Check that links do not lead out of the manifest's root; call it before opening the file.

        Raises:
            OutsideRootError: naming the file and where it really is.
        """
        if self.real_root is None:
            return
        real = os.path.realpath(archive_and_position(self.path)[0])
        if real != self.real_root and not real.startswith(self.real_root.rstrip("/") + "/"):
            raise OutsideRootError(
                f"{self.path} is a link out of the manifest's root, to {real}; if that is meant, {_HOW_TO_ALLOW}"
            )


class Manifest:
    """The rows of a manifest, in a few arrays. Data workers share these; they would copy ten million strings.

    Args:
        path: of the manifest; min_samples: leave shorter clips out.
        allow_outside_root: accept rows that lead out of the root. Otherwise paths that do are refused here, and links
            that do by ``Clip.check_inside``.

    Attributes:
        root: folder that the paths are relative to; real_root: the same without links, or None if rows may lead out.
        sizes: (rows,) int64, samples of each clip; offsets: (rows,) int64, first samples, or ``WHOLE_FILE``.
        skipped: positions, among all rows of the file, of those that were left out.

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
                        shown = line.decode("utf-8", "replace").strip()[:80]
                        raise InputError(
                            f"{path}, line {number + 2}: {shown!r} is not path, tab, number of samples (tab, first "
                            "sample); make the manifest again (summarymixing manifest folder)"
                        )
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
                f"manifest {path} cannot be read ({error.strerror}): make it with summarymixing manifest folder "
                "AUDIO_DIR --dest DIR"
            ) from None
        if not len(sizes):
            what = f"no row of {min_samples} samples or more" if self.skipped else "no row"
            raise InputError(f"manifest {path} has {what}: is the audio folder it was made from empty?")
        self._names = np.frombuffer(names, np.uint8)
        self._ends = np.frombuffer(ends, np.int64)
        self.sizes = np.frombuffer(sizes, np.int64)
        self.offsets = np.frombuffer(offsets, np.int64)
        self.real_root = None if allow_outside_root else os.path.realpath(self.root)
        # one look at all names: there may be ten million
        first_bytes = self._names[np.concatenate([[0], self._ends[:-1]])]
        if not allow_outside_root and (b".." in names or (first_bytes == ord("/")).any()):
            self._check_paths()

    def _read_root(self, line: bytes) -> None:
        try:
            self.root = line.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise InputError(f"manifest {self.path} is not UTF-8 text: is it a manifest at all?") from None
        if "\0" in self.root:
            raise InputError(f"manifest {self.path} names a root with a NUL byte in it: is it a manifest at all?")

    def _check_paths(self) -> None:
        numbers = (number for number in itertools.count() if number not in self.skipped)
        for number, name in zip(numbers, map(self.name, range(len(self)))):
            # links are not followed here
            if name.startswith("/") or (".." in name and posixpath.normpath(name).split("/")[0] == ".."):
                raise OutsideRootError(
                    f"{self.path}, line {number + 2}: {name[:80]!r} leads out of the manifest's root; "
                    f"if that is meant, {_HOW_TO_ALLOW}"
                )

    def __len__(self) -> int:
        return len(self.sizes)

    def name(self, index: int) -> str:
        """Path of a row, 0 or more, relative to the root."""
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._names[start : self._ends[index]].tobytes())

    def __getitem__(self, index: int) -> Clip:
        name, offset = self.name(index), int(self.offsets[index])
        start = None if offset == WHOLE_FILE else offset
        return Clip(Path(self.root, name), name, int(self.sizes[index]), start, self.real_root)

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))


def splits_of(folder: Path) -> list[str]:
    """Names of the manifests of a folder, sorted.

    Raises:
        InputError: where there is none.
    """
    splits = sorted(path.stem for path in folder.glob("*.tsv") if path.name != "refused.tsv" and path.name[0] != ".")
    if not splits:
        raise InputError(f"{folder} has no manifest (SPLIT.tsv)")
    return splits


def check_splits(train: str, valid: str) -> None:
    """Raises InputError for a training split under another name, or a validation split under such a name.

    Labels, chunks and kept features go by the name. With the training split itself fairseq would take training and
    validation from one iterator, whose epochs would not end.

    Args:
        train: ``dataset.train_subset``; valid: ``dataset.valid_subset``, names separated by commas.
    """
    if not train.startswith("train"):
        raise InputError(
            f"dataset.train_subset={train}: name the manifests of training train*.tsv, train_{train}.tsv say"
        )
    if any(name.startswith("train") for name in valid.split(",")):
        raise InputError(f"dataset.valid_subset={valid} names a training split: name a copy of its manifest valid*.tsv")


def size_and_time(path: Path) -> str:
    """Size and time of change of a file, by which another file of the same name is told from it; "" without one."""
    try:
        status = os.stat(archive_and_position(path)[0])
    except OSError:  # reported when the clip is read
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def archive_and_position(path: Path | str) -> tuple[str, str]:
    """The archive and the ``OFFSET:LENGTH`` of FILE.zip:OFFSET:LENGTH or FILE.tar:OFFSET:LENGTH, in bytes.

    For any other path: itself and "".
    """
    text = str(path)
    for ending in (".zip", ".tar"):
        archive, _, position = text.partition(f"{ending}:")
        # the archive is looked for first: it is there, and systems remember what they have found
        if position and (os.path.isfile(archive + ending) or not os.path.exists(text)):
            return archive + ending, position
    return text, ""


def read_labels(path: Path, num_clips: int) -> list[str]:
    """Lines of a label file beside a manifest of ``num_clips`` rows.

    Raises:
        InputError: for a file that is missing or has another number of lines.
    """
    labels = read_text(path, "labels").split("\n")
    if labels[-1] == "":
        labels.pop()
    if len(labels) != num_clips:
        raise InputError(f"{path} has {len(labels)} lines, its manifest {num_clips} rows: make both again")
    return labels
