"""What a scan has read so far, on disk: a run that was killed goes on where it stopped.

The file has one JSON list a line: path, size in bytes, time of change, and what was found. The first line says what is
scanned; the journal of another scan is not used. A last line that was cut by the kill is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ..writing.options import AudioRules
from ..writing.rows import Clip, Refusal
from .audio_file import read_clip

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


def scan_with_journal(
    journal: Path,
    root: str,
    rules: AudioRules,
    paths: Sequence[str],
    scan: Callable[[Sequence[str]], Generator[Entry, None, None]],
) -> list[Clip | Refusal]:
    """Results for `paths`, in their order; only files that no earlier run has read, or that have changed, are scanned.

    Args:
        journal: the file. root, rules: what is scanned, and how. scan: gives an entry for each path that it is given.

    Raises:
        InputError: if the file cannot be written.
    """
    header = f"{json.dumps([root, asdict(rules)])}\n".encode()
    with _named(journal):
        journal.parent.mkdir(parents=True, exist_ok=True)
        known, num_bytes = _load(journal, header, root)
        # without a buffer: nothing is lost by a kill, and closing the file writes nothing that could fail once more
        file = open(journal, "ab", buffering=0)  # noqa: SIM115 (closed below)
    results: list[Clip | Refusal] = []
    # the scan is closed too: where the journal cannot be written, its processes end before the error is reported
    with file, closing(scan([path for path in paths if path not in known])) as entries:
        with _named(journal):
            file.truncate(num_bytes)
            if not num_bytes:
                file.write(header)
        for path in paths:
            entry = known.get(path)
            if entry is None:
                entry = next(entries)
                with _named(journal):
                    file.write(f"{json.dumps([path, *entry])}\n".encode())
            _, _, first, second = entry
            is_refusal = isinstance(first, str)
            results.append(Refusal(path, first, second) if is_refusal else Clip(path, first, file_rate_hz=second))
        next(entries, None)  # lets its progress bar come to its end
    return results


def _load(journal: Path, header: bytes, root: str) -> tuple[dict[str, Entry], int]:
    """Entries of an earlier run by path, without files that have changed; bytes that hold whole lines of this scan."""
    known: dict[str, Entry] = {}
    if not journal.exists():
        return known, 0
    with open(journal, "rb") as file:
        if file.readline() != header:
            return known, 0
        num_bytes = len(header)
        for line in file:
            try:
                path, *entry = json.loads(line)
                size, mtime_ns, _, _ = entry
                unchanged = _stamp(os.path.join(root, path)) == (size, mtime_ns)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            known.pop(path, None)
            if unchanged:
                known[path] = tuple(entry)
            num_bytes += len(line)
    return known, num_bytes


@contextmanager
def _named(journal: Path) -> Iterator[None]:
    """Have an error of the disk name the journal."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{journal} cannot be written: {error.strerror or error}") from None


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file; two zeros where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return 0, 0
    return status.st_size, status.st_mtime_ns
