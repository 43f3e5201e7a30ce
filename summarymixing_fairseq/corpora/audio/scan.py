"""Finding the audio files of a folder and reading their headers, in parallel; a run that was killed is resumed."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Container, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ..writing.rows import Clip, Refusal, link_problem, path_problem
from .journal import Entry, Journal, read_entry, result_of
from .rules import AudioRules

EXTENSIONS = ("flac", "wav", "ogg", "opus", "mp3")

# The name is hidden, so that no search for audio finds it.
JOURNAL_NAME = ".headers.journal"
# Many at a time: handing a chunk to another process takes as long as reading some headers.
_FILES_PER_CHUNK = 256


def find_audio(
    root: Path,
    extensions: Sequence[str] = EXTENSIONS,
    *,
    top: Path | None = None,
    allow_outside_root: bool = False,
) -> tuple[list[str], list[Refusal]]:
    """Paths of the audio files below `root`, in posix form and sorted; and what is refused.

    Paths are relative to `top`, the manifest's root, which contains `root` (None: it is `root`).

    Endings are compared without regard to case. Hidden files and folders (names that begin with a dot) are skipped.
    Links are followed, but each folder is entered once, under its real name where that lies below `root`: loops of
    links end, and no file is listed twice. Refused are dead links, folders that cannot be read, names that a manifest
    cannot hold and, unless `allow_outside_root`, links that lead out of `top`.

    Raises:
        InputError: for a root that is not a folder, or whose name a manifest cannot hold.
    """
    if not root.is_dir():
        what = "is no directory" if root.exists() else "does not exist"
        raise InputError(f"{root} {what}: give the folder that holds the audio")
    # A colon in the root harms only endings that fairseq does not know: those are judged file by file.
    absolute_root = os.path.abspath(root)
    if problem := path_problem("x.wav", absolute_root):
        raise InputError(f"{root}: {problem}")
    endings = tuple("." + extension.lower().lstrip(".") for extension in extensions)
    found: list[str] = []
    refused: list[Refusal] = []
    root_of_names = absolute_root if ":" in absolute_root else ""
    absolute_top = os.path.abspath(top or root)
    entered: set[tuple[int, int]] = set()
    real_folders: deque[str] = deque([""])
    linked_folders: deque[str] = deque()
    while real_folders or linked_folders:
        folder = real_folders.popleft() if real_folders else linked_folders.popleft()
        absolute = os.path.join(absolute_root, folder)
        try:
            identity = os.stat(absolute)
            if (identity.st_dev, identity.st_ino) in entered:
                continue
            entered.add((identity.st_dev, identity.st_ino))
            entries = sorted(os.scandir(absolute), key=lambda entry: entry.name)
        except OSError as error:
            refused.append(Refusal(folder, "folder cannot be read", error.strerror or ""))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            is_link = entry.is_symlink()  # known from scandir: only links cost another look at the disk
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()  # False for a link to itself
            if not is_folder and not entry.name.lower().endswith(endings):
                continue
            problem = None if is_folder else path_problem(path, root_of_names)
            if is_link and not allow_outside_root and not problem and os.path.exists(entry.path):
                problem = link_problem(entry.path, absolute_top)
            if problem:
                refused.append(Refusal(path, problem))
            elif is_folder:
                (linked_folders if is_link else real_folders).append(path)
            elif os.path.isfile(entry.path) if is_link else entry.is_file():
                found.append(path)
            elif os.path.exists(entry.path):
                refused.append(Refusal(path, "no regular file"))
            else:
                refused.append(Refusal(path, "dead link"))
    if top is None or top == root:
        return sorted(found), refused
    prefix = f"{root.relative_to(top).as_posix()}/"
    return [prefix + path for path in sorted(found)], [replace(one, path=prefix + one.path) for one in refused]


def unnamed_audio(root: Path, folder: str, named: Container[str], reason: str) -> list[Refusal]:
    """Refusals of the audio in a folder below `root` that is not in `named`."""
    found, refused = find_audio(root / folder, top=root)
    return [one for one in [*(Refusal(path, reason) for path in found), *refused] if one.path not in named]


def read_clips(
    root: Path,
    paths: Sequence[str],
    rules: AudioRules,
    *,
    workers: int | None = None,
    dest: Path | None = None,
) -> tuple[list[Clip], list[Refusal]]:
    """Usable clips among `paths` and refusals, both in the order of `paths`.

    With `dest`, what has been read is kept there until `forget_journal`, so that a run that was killed goes on where
    it stopped.
    """
    absolute_root = os.path.abspath(root)
    read = functools.partial(read_entry, root=absolute_root, rules=rules)

    def scan(unread: Sequence[str]) -> Generator[Entry, None, None]:
        yield from parallel_iter(
            read,
            unread,
            workers=workers,
            description="decoding files" if rules.verify else "reading headers",
            most_per_chunk=_FILES_PER_CHUNK,
        )

    if dest is None:
        # the scan comes first in zip: it is run to its end, and so is its progress bar
        results = [result_of(path, entry) for entry, path in zip(scan(paths), paths)]
    else:
        journal = Journal(dest / JOURNAL_NAME, absolute_root, rules)
        # closing: where the journal cannot be written, processes and progress bar end before the error is reported
        with journal.open(), closing(scan(journal.unread(paths))) as entries:
            results = list(journal.merge(paths, entries))
    return parted(results)


def parted(results: Sequence[Clip | Refusal]) -> tuple[list[Clip], list[Refusal]]:
    """Clips and refusals apart, each in order."""
    clips = [result for result in results if isinstance(result, Clip)]
    return clips, [result for result in results if isinstance(result, Refusal)]


def forget_journal(dest: Path) -> None:
    """Remove what `read_clips` kept in `dest`: the manifests are written."""
    (dest / JOURNAL_NAME).unlink(missing_ok=True)
