"""What a scan has read so far, on disk: a run that was killed goes on where it stopped.

One JSON list a line: path, size in bytes, time of change, then the clip or refusal. The first line says what the scan
looks for; a journal of another scan is not used. A last line that was cut by the kill is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

from ...system import interrupts
from ...system.errors import InputError
from ..writing.writer import Clip, Refusal
from .audio_file import AudioRules, read_clip

# Lines between two flushes: what a kill can cost.
_LINES_PER_FLUSH = 256


# Size in bytes and time of change of a file (two zeros where there is none), then what makes up a Clip, samples and the
# file's own rate, or a Refusal, reason and detail. Without the path: a million of these cross between processes.
Entry = tuple


def read_entry(path: str, root: str, rules: AudioRules) -> Entry:
    """Read one file. It is looked at before it is read, so that a file changed meanwhile does not count as known."""
    stamp = _stamp(os.path.join(root, path))
    result = read_clip(path, root, rules)
    if isinstance(result, Clip):
        return (*stamp, result.num_samples, result.file_rate_hz)
    return (*stamp, result.reason, result.detail)


class Journal:
    """Results of earlier runs, and the file that this run's are added to.

    Args:
        path: of the file; None: nothing is kept. root, rules: what is scanned, and how.
    """

    def __init__(self, path: Path | None, root: str, rules: AudioRules):
        self._path = path
        self._header = json.dumps([root, asdict(rules)]) + "\n"
        self._root = root
        self._known: dict[str, Entry] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Journal:
        if self._path is None:
            return self
        with self._named():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            length = self._read()
            self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 (closed by __exit__)
            self._file.truncate(length)
            if not length:
                self._file.write(self._header)
        self._forget = interrupts.register(self._file.flush)
        return self

    def __exit__(self, error_type: object, *_: object) -> None:
        if self._file is None:
            return
        self._forget()
        try:
            with self._named():
                self._file.close()
        except InputError:
            if error_type is None:  # otherwise the first error is the one to tell
                raise

    def _read(self) -> int:
        """Load an earlier run's results; the number of bytes that hold whole lines of this scan."""
        length = 0
        try:
            with open(self._path, "rb") as file:
                if file.readline().decode("utf-8", "replace") != self._header:
                    return 0
                length = file.tell()
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    try:
                        path, *entry = json.loads(line)
                        size, mtime_ns, _, _ = entry
                        unchanged = _stamp(os.path.join(self._root, path)) == (size, mtime_ns)
                    except (ValueError, TypeError):
                        break
                    if unchanged:
                        self._known[path] = tuple(entry)
                    else:
                        self._known.pop(path, None)
                    length += len(line)
        except FileNotFoundError:
            return 0
        return length

    def unread(self, paths: Sequence[str]) -> Sequence[str]:
        """Those of `paths` that no earlier run has read, or that have changed since."""
        return [path for path in paths if path not in self._known] if self._known else paths

    def merge(self, paths: Sequence[str], entries: Iterator[Entry]) -> Iterator[Clip | Refusal]:
        """What is known and what `entries` bring for the unread paths, in the order of `paths`."""
        for count, path in enumerate(paths):
            entry = self._known.get(path)
            if entry is None:
                entry = next(entries)
                self._write(path, entry, count)
            yield _result(path, entry)
        next(entries, None)  # lets its progress bar come to its end

    def _write(self, path: str, entry: Entry, count: int) -> None:
        if self._file is None:
            return
        with self._named():
            self._file.write(json.dumps([path, *entry]) + "\n")
            if count % _LINES_PER_FLUSH == 0:
                self._file.flush()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Have an error of the disk name the journal."""
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._path} cannot be written: {error.strerror or error}") from None


def _result(path: str, entry: Entry) -> Clip | Refusal:
    _, _, first, second = entry
    return Refusal(path, first, second) if isinstance(first, str) else Clip(path, first, file_rate_hz=second)


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file; two zeros where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return 0, 0
    return status.st_size, status.st_mtime_ns
