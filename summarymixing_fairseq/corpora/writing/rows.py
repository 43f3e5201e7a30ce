"""Rows of fairseq's manifests: clips, what was left out, and paths that no row can hold.

A manifest is a text file. Its first line is the absolute root folder; then comes a line `relative/path<TAB>num_samples`
for each clip. A third column, the first sample, makes the row a part of a longer file.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...system.tables import tsv_rows

# The endings that fairseq's parse_path takes as plain audio files; any other path is split at its colons.
_PLAIN_ENDINGS = {".npy", ".wav", ".flac", ".ogg"}
ALLOW_OUTSIDE_ROOT = "--allow-outside-root"


@dataclass(frozen=True)
class Clip:
    """A usable audio file or, with `offset`, a part of it.

    Attributes:
        path: relative to the manifest's root, in posix form.
        num_samples, offset: length and first sample, at the manifest's rate.
        file_rate_hz: the file's own rate where it differs; it is not in the row.
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
    """Why no manifest with this `root` can hold `path`, or None. Links are not followed: see `link_problem`."""
    if not allow_outside_root and (path.startswith("/") or ".." in path):
        normal = os.path.normpath(path)
        if path.startswith("/") or normal == ".." or normal.startswith("../"):
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


def link_problem(path: str, root: str) -> str | None:
    """Why the file `path` lies outside `root` once links are followed, or None where it lies inside."""
    folder, name = os.path.split(os.path.join(root, path))
    # many files share a folder: resolve it once, and a file only where it is a link itself
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
    rows = [f"{os.path.abspath(root)}\n"]
    for clip in clips:
        offset = "" if clip.offset is None else f"\t{clip.offset}"
        rows.append(f"{clip.path}\t{clip.num_samples}{offset}\n")
    return "".join(rows)


def format_refusals(refusals: Iterable[Refusal]) -> str:
    """The text of refused.tsv: `path<TAB>reason` for each file; tabs and line breaks as escapes."""
    in_order = sorted(refusals, key=lambda refusal: (refusal.path, refusal.reason))
    return tsv_rows((one.path, f"{one.reason}: {one.detail}" if one.detail else one.reason) for one in in_order)
