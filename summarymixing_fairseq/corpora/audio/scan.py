"""Finding the audio files of a folder and reading their headers, in parallel; a run that was killed is resumed."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ..writing.options import ManifestOptions
from ..writing.rows import Clip, Refusal, link_problem, path_problem
from .journal import read_entry, scan_with_journal

EXTENSIONS = ("flac", "wav", "ogg", "opus", "mp3")

# The names are hidden, so that no search for audio finds them. A scan of clips of any length goes beside one of train.
JOURNAL_NAME = ".headers.journal"
_ANY_LENGTH_JOURNAL_NAME = ".any-length.journal"
# Many at a time: handing a chunk to another process takes as long as reading some headers.
_FILES_PER_CHUNK = 256


def find_audio(
    root: Path,
    refusals: list[Refusal],
    extensions: Sequence[str] = EXTENSIONS,
    *,
    top: Path | None = None,
    allow_outside_root: bool = False,
) -> list[str]:
    """Paths of the audio files below `root`, in posix form and sorted; what is refused is added to `refusals`.

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
    root_of_names = absolute_root if ":" in absolute_root else ""
    absolute_top = os.path.abspath(top or root)
    prefix = "" if top is None or top == root else f"{root.relative_to(top).as_posix()}/"

    def refuse(path: str, reason: str, detail: str = "") -> None:
        refusals.append(Refusal(prefix + path, reason, detail))

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
            refuse(folder, "folder cannot be read", error.strerror or "")
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
                refuse(path, problem)
            elif is_folder:
                (linked_folders if is_link else real_folders).append(path)
            elif os.path.isfile(entry.path) if is_link else entry.is_file():
                found.append(prefix + path)
            else:
                refuse(path, "no regular file" if os.path.exists(entry.path) else "dead link")
    return sorted(found)


def refuse_unnamed(root: Path, folder: str, named: Container[str], reason: str, refusals: list[Refusal]) -> None:
    """Refuse the audio in a folder below `root` that is not in `named`."""
    refused: list[Refusal] = []
    found = find_audio(root / folder, refused, top=root)
    refusals += [one for one in [*(Refusal(path, reason) for path in found), *refused] if one.path not in named]


def read_clips(
    root: Path,
    paths: Sequence[str],
    options: ManifestOptions,
    refusals: list[Refusal],
    *,
    any_length: bool = False,
) -> list[Clip]:
    """Usable clips among `paths`, in their order; the others are added to `refusals`.

    What has been read is kept in `options.dest` until `forget_journals`, so that a run that was killed goes on where
    it stopped. `any_length` lifts limits of length: an error rate is one of a whole test set.
    """
    absolute_root = os.path.abspath(root)
    rules = replace(options.rules, min_seconds=None, max_seconds=None) if any_length else options.rules
    scan = functools.partial(
        parallel_iter,
        functools.partial(read_entry, root=absolute_root, rules=rules),
        workers=options.workers,
        description="decoding files" if rules.verify else "reading headers",
        most_per_chunk=_FILES_PER_CHUNK,
    )
    journal = options.dest / (_ANY_LENGTH_JOURNAL_NAME if any_length else JOURNAL_NAME)
    return clips_of(scan_with_journal(journal, absolute_root, rules, paths, scan), refusals)


def clips_of(results: Sequence[Clip | Refusal], refusals: list[Refusal]) -> list[Clip]:
    """The clips among `results`; the others are added to `refusals`."""
    refusals += [result for result in results if isinstance(result, Refusal)]
    return [result for result in results if isinstance(result, Clip)]


def forget_journals(dest: Path) -> None:
    """Remove what `read_clips` kept in `dest`: the manifests are written."""
    for name in (JOURNAL_NAME, _ANY_LENGTH_JOURNAL_NAME):
        (dest / name).unlink(missing_ok=True)
