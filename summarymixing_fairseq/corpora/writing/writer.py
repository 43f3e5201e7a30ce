"""Writing fairseq manifests and label files: rows, atomic files, summaries and errors.

A manifest is a text file whose first line is the absolute root directory, followed by one
``relative/path<TAB>num_samples`` line for each clip; a third column, the first sample, makes it a part of a longer
file. Every script of this folder writes through this module.
"""

from __future__ import annotations

import functools
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...system import files as package_files
from ...system.errors import InputError, printable

# The endings that fairseq's parse_path takes as plain audio files; any other path is split at its colons.
_PLAIN_ENDINGS = {".npy", ".wav", ".flac", ".ogg"}
ALLOW_OUTSIDE_ROOT = "--allow-outside-root"


@dataclass(frozen=True)
class Clip:
    """One usable audio file or, with `offset`, a part of it: its path relative to the root (posix form) and its length.

    `num_samples` and `offset` count samples at the manifest's rate. `file_rate_hz` is the file's own rate where that is
    another one; it is not in the row.
    """

    path: str
    num_samples: int
    offset: int | None = None
    file_rate_hz: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Refusal:
    """One file left out, and why. `detail` is what differs between files refused for the same reason."""

    path: str
    reason: str
    detail: str = ""


def path_problem(path: str, root: str = "", *, allow_outside_root: bool = False) -> str | None:
    """Why `path`, relative to a manifest's `root`, cannot stand in it, or None where it can.

    Links are not followed here: see `link_problem`.
    """
    if not allow_outside_root and (path.startswith("/") or ".." in path) and _climbs_out(path):
        return f"path that leads out of the root ({ALLOW_OUTSIDE_ROOT} keeps it)"
    if "\0" in path:
        return "name with a NUL byte (no file can have it)"
    path = os.path.join(root, path)
    if any(character in path for character in "\t\n\r"):
        return "name with a tab or line break (rename it: it cannot be written in a manifest)"
    if path != path.lstrip():
        return "name begins with a space (rename it: fairseq strips it)"
    if ":" in path and Path(path).suffix not in _PLAIN_ENDINGS:
        return "name with a colon (rename it: fairseq takes what follows for a position in a zip file)"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "name is not valid UTF-8 (rename it)"
    return None


def _climbs_out(path: str) -> bool:
    normal = os.path.normpath(path)
    return path.startswith("/") or normal == ".." or normal.startswith("../")


def link_problem(path: str, root: str) -> str | None:
    """Why the file `path` below `root` is none of it: links lead out of the root; or None."""
    folder, name = os.path.split(os.path.join(root, path))
    # a folder has many files: what it leads to is looked up once, and a file only where it is a link itself
    real = os.path.join(_real(folder), name)
    if os.path.islink(real):
        real = os.path.realpath(real)
    if real == _real(root) or real.startswith(_real(root).rstrip("/") + "/"):
        return None
    return f"link out of the root ({ALLOW_OUTSIDE_ROOT} keeps it)"


@functools.lru_cache(maxsize=4096)
def _real(folder: str) -> str:
    return os.path.realpath(folder)


def format_manifest(root: Path, clips: Iterable[Clip]) -> str:
    """The text of a manifest: the absolute root, then one row for each clip."""
    return f"{os.path.abspath(root)}\n" + "".join(map(_format_row, clips))


def _format_row(clip: Clip) -> str:
    offset = "" if clip.offset is None else f"\t{clip.offset}"
    return f"{clip.path}\t{clip.num_samples}{offset}\n"


def parse_manifest(text: str) -> tuple[str, list[Clip]]:
    """Root directory and clips of a manifest's text, read the way fairseq reads it."""
    lines = text.split("\n")
    rows = [line.strip().split("\t") for line in lines[1:] if line]
    return lines[0].strip(), [Clip(path, *map(int, numbers)) for path, *numbers in rows]


def letters_of(words: str) -> str:
    """`HELLO WORLD` → `H E L L O | W O R L D |`, the form of fairseq's .ltr files."""
    return " ".join("|".join(words.split()) + "|")


def format_dictionary(letter_lines: Iterable[str]) -> str:
    """The text of dict.ltr.txt: `<letter> <count>`, by count descending, then by letter."""
    counts = Counter(letter for line in letter_lines for letter in line.split())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"{letter} {count}\n" for letter, count in ordered)


def write_files(files: Mapping[Path, str | bytes], *, force: bool, reports: Mapping[Path, str] | None = None) -> None:
    """Write all of `files` and `reports` (UTF-8, `\\n`), each under its final name only once complete.

    An existing file with other content is kept, and InputError raised before anything is written,
    unless `force`; the same content is left alone. `reports` are not manifests: they are always brought
    up to date, and removed where their text is empty.
    """
    reports = reports or {}
    new = {path: text for path, text in files.items() if not _holds(path, text)}
    changed = sorted(path for path in new if path.exists())
    if changed and not force:
        raise InputError(f"{changed[0]} exists with other content: give --force to replace it, or another --dest")
    new.update({path: text for path, text in reports.items() if text and not _holds(path, text)})
    package_files.write_together(new, absent=[path for path, text in reports.items() if not text])


def _encoded(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode("utf-8")


def _holds(path: Path, content: str | bytes) -> bool:
    return path.is_file() and path.read_bytes() == _encoded(content)


def format_refusals(refusals: Iterable[Refusal]) -> str:
    """The text of refused.tsv: `path<TAB>reason` for each file; tabs and line breaks as escapes."""
    rows = []
    for refusal in sorted(refusals, key=lambda refusal: (refusal.path, refusal.reason)):
        reason = f"{refusal.reason}: {refusal.detail}" if refusal.detail else refusal.reason
        rows.append(f"{printable(refusal.path)}\t{printable(reason)}\n")
    return "".join(rows)


def summarise(
    num_found: int,
    splits: Mapping[str, Sequence[Clip]],
    refusals: Sequence[Refusal],
    *,
    sample_rate_hz: int,
    notes: Iterable[str] = (),
) -> str:
    """What to print at the end: clips found and kept, hours for each split, lengths, and what was refused."""
    lines = [f"found {num_found:,} audio files"]
    for name, clips in splits.items():
        seconds = [clip.num_samples / sample_rate_hz for clip in clips]
        line = f"{name}: {len(clips):,} clips, {sum(seconds) / 3600:.2f} h"
        if seconds:
            line += (
                f" (seconds: min {min(seconds):.2f}, median {statistics.median(seconds):.2f}, max {max(seconds):.2f})"
            )
        lines.append(line)
    rates_hz = {clip.path: clip.file_rate_hz for clips in splits.values() for clip in clips if clip.file_rate_hz}
    resampled = Counter(rates_hz.values())
    for rate_hz, count in sorted(resampled.items()):
        lines.append(
            f"{count:,} files at {rate_hz} Hz: speech_pretraining and speech_finetuning resample them, stock tasks die"
        )
    by_reason: dict[str, list[Refusal]] = {}
    for refusal in refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal)
    for reason, refused in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"refused {len(refused):,}: {printable(reason)}, e.g. {printable(refused[0].path)}")
    return "\n".join([*lines, *notes])
