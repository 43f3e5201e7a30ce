"""Which clips' hidden states lie where in a cache's file: a journal that only grows, and survives a kill."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from ...system.errors import InputError

STATES_NAME = "states.bin"
JOURNAL_NAME = "index.tsv"
ABSENT = -1
# What is written stands in the journal this much later at most: what a kill can cost.
COMMIT_SECONDS = 5.0
_PRESENT_LINE = re.compile(rb"([0-9]{1,18})\t([0-9]{1,18})\t([0-9]{1,18})")
_BAD_LINE = re.compile(rb'([0-9]{1,18})\tbad\t(".*")')
ELSEWHERE = "task.cache_dir can name another disk, task.cache=false goes without"


class StateIndex:
    """The journal of a cache as it stands: a line of clip, first byte and frames, or clip, ``bad`` and reason.

    Read without a lock, also while another process writes: states are in their file before their line is.

    Args:
        folder: of the cache; num_clips: in the split; frame_bytes: of all states of a frame.

    Attributes:
        offsets, num_frames: (num_clips,) int64, first byte of a clip's states, and its frames or ``ABSENT``.
        bad: why a clip has no states.
        end: bytes of the states file that the journal knows; journal_end: bytes of whole lines. Whatever follows
            was being written when a process died.

    Raises:
        InputError: for a journal with a line that is none, or that names bytes that are not there.
    """

    def __init__(self, folder: Path, num_clips: int, frame_bytes: int):
        self.offsets = np.zeros(num_clips, np.int64)
        self.num_frames = np.full(num_clips, ABSENT, np.int64)
        self.bad: dict[int, str] = {}
        self.end = 0
        journal = _read(folder / JOURNAL_NAME)
        self.journal_end = journal.rfind(b"\n") + 1
        for number, line in enumerate(journal[: self.journal_end].split(b"\n")[:-1], start=1):
            if not self._add(line, frame_bytes):
                raise damaged(folder, f"line {number} of {JOURNAL_NAME} is not one")
        # after the journal: what another process adds meanwhile only makes it longer
        num_bytes = 0
        with suppress(FileNotFoundError):
            num_bytes = (folder / STATES_NAME).stat().st_size
        if num_bytes < self.end:
            raise damaged(folder, f"{STATES_NAME} has {num_bytes} bytes of {self.end}")

    def _add(self, line: bytes, frame_bytes: int) -> bool:
        """Take a line in; False if it cannot be one."""
        present = _PRESENT_LINE.fullmatch(line)
        if present is not None:
            clip, offset, num_frames = map(int, present.groups())
            if clip >= len(self.offsets) or offset != self.end or not num_frames:
                return False
            self.offsets[clip], self.num_frames[clip] = offset, num_frames
            self.bad.pop(clip, None)  # its file was mended
            self.end += num_frames * frame_bytes
            return True
        bad = _BAD_LINE.fullmatch(line)
        if bad is None or int(bad[1]) >= len(self.offsets):
            return False
        try:
            self.bad[int(bad[1])] = json.loads(bad[2])
        except ValueError:
            return False
        return True

    def missing(self) -> np.ndarray:
        """Clips without states, bad ones among them."""
        return np.flatnonzero(self.num_frames == ABSENT)


class StateWriter:
    """Appends to a cache that this process has locked. A context manager: leaving it commits what is written.

    Args:
        folder: of the cache; index: as just read.

    Raises:
        InputError: here and from every method, where the disk is full or refuses.
    """

    def __init__(self, folder: Path, index: StateIndex):
        self._folder = folder
        self._end = index.end
        self._bad = dict(index.bad)
        self._lines: list[bytes] = []
        self._committed_at = time.monotonic()
        self._descriptors: list[int] = []
        try:
            for name, end in ((STATES_NAME, index.end), (JOURNAL_NAME, index.journal_end)):
                self._descriptors.append(os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o666))
                os.ftruncate(self._descriptors[-1], end)  # what a killed process left behind
                os.lseek(self._descriptors[-1], end, os.SEEK_SET)
        except OSError as error:
            self._close()
            raise not_writable(folder, error) from None

    def add(self, states: Mapping[int, np.ndarray], bad: Mapping[int, str]) -> None:
        """Append clips' states, each (S, T, D) in the cache's type, and reasons of bad clips."""
        try:
            for clip, array in states.items():
                _write(self._descriptors[0], np.ascontiguousarray(array))
                self._lines.append(b"%d\t%d\t%d\n" % (clip, self._end, array.shape[1]))
                self._end += array.nbytes
            for clip, reason in bad.items():
                if self._bad.get(clip) != reason:
                    self._bad[clip] = reason
                    self._lines.append(b"%d\tbad\t%s\n" % (clip, json.dumps(reason).encode()))
            if time.monotonic() >= self._committed_at + COMMIT_SECONDS:
                self._commit()
        except OSError as error:
            raise not_writable(self._folder, error) from None

    def _commit(self) -> None:
        states, journal = self._descriptors
        os.fsync(states)  # on the disk before any line says so: a line outlives a power cut only with its states
        lines, self._lines = self._lines, []
        _write(journal, np.frombuffer(b"".join(lines), np.uint8))
        os.fsync(journal)
        self._committed_at = time.monotonic()

    def __enter__(self) -> StateWriter:
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        try:
            self._commit()
        except OSError as error:
            if error_type is None:  # otherwise the first error is the one to tell
                raise not_writable(self._folder, error) from None
        finally:
            self._close()

    def _close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


def damaged(folder: Path, what: str) -> InputError:
    """The error for a cache that cannot be trusted."""
    return InputError(f"cached hidden states in {folder} are damaged ({what}): delete {folder}, it is filled again")


def not_writable(folder: Path, error: OSError) -> InputError:
    """The error for a disk that is full or refuses."""
    return InputError(
        f"cached hidden states in {folder} cannot be written ({error.strerror or error}), what is there is kept: "
        f"{ELSEWHERE}"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _write(descriptor: int, array: np.ndarray) -> None:
    # (...) -> (bytes,)
    rest = memoryview(array.reshape(-1).view(np.uint8))
    while rest:  # one call writes 2 GB at most
        rest = rest[os.write(descriptor, rest) :]
