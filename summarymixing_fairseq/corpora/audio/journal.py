"""What a scan has read so far, on disk: a run that was killed goes on where it stopped.

The file has one JSON list a line: path, size in bytes, time of change, and what was found. The first line says what is
scanned; the journal of another scan is not used. A last line that was cut by the kill is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from ...system import interrupts
from ...system.errors import InputError
from ..writing.rows import Clip, Refusal
from .audio_file import read_clip
from .rules import AudioRules

# Lines between two flushes: what a kill can cost.
_LINES_PER_FLUSH = 256

# Size in bytes and time of change of a file (two zeros where there is none). Then what makes up a Clip (samples and the
# file's own rate) or a Refusal (reason and detail), without the path: a million of these cross between processes.
Entry = tuple[Any, ...]


def read_entry(path: str, root: str, rules: AudioRules) -> Entry:
    """Read one file. Its size and time are taken first, so that a file changed meanwhile is read again next time."""
    stamp = _stamp(os.path.join(root, path))
    result = read_clip(path, root, rules)
    if isinstance(result, Clip):
        return (*stamp, result.num_samples, result.file_rate_hz)
    return (*stamp, result.reason, result.detail)


class Journal:
    """Results of earlier runs, and the file that this run's results are added to.

    Args:
        path: of the file. root, rules: what is scanned, and how.
    """

    def __init__(self, path: Path, root: str, rules: AudioRules):
        self._path = path
        self._header = json.dumps([root, asdict(rules)]) + "\n"
        self._root = root
        self._known: dict[str, Entry] = {}

    @contextmanager
    def open(self) -> Iterator[None]:
        """Load the earlier results, and keep the file open for new ones while the block runs.

        Raises:
            InputError: if the file cannot be written.
        """
        with self._named():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            length = self._load()
            self._file: IO[str] = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed below)
            self._file.truncate(length)
            if not length:
                self._file.write(self._header)
        try:
            with interrupts.cleanup(self._flush):
                yield
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                self._file.close()
            raise
        with self._named():
            self._file.close()

    def _load(self) -> int:
        """Load an earlier run's results; the number of bytes that hold whole lines of this scan."""
        if not self._path.exists():
            return 0
        with open(self._path, "rb") as file:
            if file.readline().decode("utf-8", "replace") != self._header:
                return 0
            length = file.tell()
            for line in file:
                try:
                    path, *entry = json.loads(line)
                    size, mtime_ns, _, _ = entry
                    unchanged = _stamp(os.path.join(self._root, path)) == (size, mtime_ns)
                except (ValueError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                self._known.pop(path, None)
                if unchanged:
                    self._known[path] = tuple(entry)
                length += len(line)
        return length

    def unread(self, paths: Sequence[str]) -> Sequence[str]:
        """Those of `paths` that no earlier run has read, or that have changed since."""
        return [path for path in paths if path not in self._known] if self._known else paths

    def merge(self, paths: Sequence[str], entries: Iterator[Entry]) -> Iterator[Clip | Refusal]:
        """Results for `paths`, in their order: earlier ones and, for the unread paths, those of `entries`."""
        for count, path in enumerate(paths):
            entry = self._known.get(path)
            if entry is None:
                entry = next(entries)
                with self._named():
                    self._file.write(json.dumps([path, *entry]) + "\n")
                    if count % _LINES_PER_FLUSH == 0:
                        self._file.flush()
            yield result_of(path, entry)
        next(entries, None)  # lets its progress bar come to its end

    def _flush(self) -> None:
        with suppress(OSError, ValueError):  # closing the file reports an error of the disk
            self._file.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Have an error of the disk name the journal."""
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror or error}") from None


def result_of(path: str, entry: Entry) -> Clip | Refusal:
    """The clip or refusal that an entry stands for."""
    _, _, first, second = entry
    return Refusal(path, first, second) if isinstance(first, str) else Clip(path, first, file_rate_hz=second)


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file; two zeros where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return 0, 0
    return status.st_size, status.st_mtime_ns
