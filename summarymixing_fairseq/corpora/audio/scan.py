"""Finding the audio files of a folder and reading their headers, in parallel; a run that was killed is resumed.

What has been read so far is kept in a journal. It has one JSON list a line: path, size in bytes, time of change, and
what was found. The first line says what is scanned; the journal of another scan is not used. A last line that was cut
by the kill is dropped.
"""

from __future__ import annotations

import functools
import json
import os
import stat
from collections import Counter, deque
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ..writing.options import AudioRules, ManifestOptions
from ..writing.rows import Clip, Refusal, link_problem, path_problem
from .audio_file import read_clip

EXTENSIONS = ("flac", "wav", "ogg", "opus", "mp3")
# Endings of audio that is not looked for: libsndfile reads the first, if `--ext` names them, but not the others.
READ_IF_NAMED = ("aif", "aifc", "aiff", "au", "caf", "mp2", "oga", "rf64", "snd", "sph", "w64")
_OTHER_AUDIO = {
    *READ_IF_NAMED,
    *("3gp", "aac", "ac3", "amr", "ape", "avi", "dsf", "m4a", "m4b", "mka", "mkv", "mov", "mp4", "mpc", "ra", "shn"),
    *("spx", "tta", "webm", "wma", "wv"),
}

# The names are hidden, so that no search for audio finds them. A scan of clips of any length goes beside one of train.
JOURNAL_NAME = ".headers.journal"
_ANY_LENGTH_JOURNAL_NAME = ".any-length.journal"
# Size in bytes and time of change of a file (two zeros where there is none). Then what makes up a Clip (samples and the
# file's own rate) or a Refusal (reason and detail), without the path: a million of these cross between processes.
Entry = tuple[Any, ...]
# Many at a time: handing a chunk to another process takes as long as reading some headers.
_FILES_PER_CHUNK = 256


def find_audio(
    root: Path,
    options: ManifestOptions,
    refusals: list[Refusal],
    extensions: Sequence[str] = EXTENSIONS,
    *,
    folder: str = "",
    passed_over: Counter[str] | None = None,
) -> list[str]:
    """Paths of the audio files below `folder` of the manifest's `root`, relative to `root`, in posix form and sorted.

    What is refused is added to `refusals`, and endings of audio that is passed over are counted in `passed_over`.

    Endings are compared without regard to case. Hidden files and folders (names that begin with a dot) are skipped.
    Links are followed, but each folder is entered once, under its real name where that lies in `folder`: loops of
    links end, and no file is listed twice. Refused are dead links, folders that cannot be read, names that a manifest
    cannot hold and, unless the options allow them, links that lead out of `root`.

    Raises:
        InputError: where there is no such folder, or no manifest can hold the root's name.
    """
    if not (root / folder).is_dir():
        what = "is no directory" if (root / folder).exists() else "does not exist"
        raise InputError(f"{root / folder} {what}: give the folder that holds the audio")
    absolute_root = os.path.abspath(root)
    if problem := path_problem("x.wav", absolute_root):
        raise InputError(f"{root}: {problem}")
    endings = tuple("." + extension.lower().lstrip(".") for extension in extensions)
    found: list[str] = []
    entered: set[tuple[int, int]] = set()
    real_folders: deque[str] = deque([folder])
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
            refusals.append(Refusal(folder, "folder cannot be read", error.strerror or ""))
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name.startswith("."):
                continue
            is_link = entry.is_symlink()  # known from scandir: only links cost another look at the disk
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()  # False for a link to itself
            if not is_folder and not entry.name.lower().endswith(endings):
                ending = os.path.splitext(entry.name)[1].lower().lstrip(".")
                if passed_over is not None and (ending in _OTHER_AUDIO or ending in EXTENSIONS):
                    passed_over[ending] += 1
                continue
            problem = None if is_folder else path_problem(path)
            if is_link and not options.rules.allow_outside_root and not problem and os.path.exists(entry.path):
                problem = link_problem(entry.path, absolute_root)
            if problem:
                refusals.append(Refusal(path, problem))
            elif is_folder:
                (linked_folders if is_link else real_folders).append(path)
            elif os.path.isfile(entry.path) if is_link else entry.is_file():
                found.append(path)
            else:
                reason = "no regular file" if os.path.exists(entry.path) else "dead link"
                refusals.append(Refusal(path, reason))
    return sorted(found)


def passed_over_notes(passed_over: Counter[str], *, can_name: bool) -> list[str]:
    """A note on audio that `find_audio` has passed over, by ending, if there is any; `can_name`: there is `--ext`."""
    if not passed_over:
        return []
    counts = ", ".join(
        f"{count:,} file{'s' * (count > 1)}: {ending}"
        for ending, count in sorted(passed_over.items(), key=lambda item: (-item[1], item[0]))
    )
    read = [ending for ending in sorted(passed_over) if ending in (*READ_IF_NAMED, *EXTENSIONS)] if can_name else []
    what = f"--ext {' '.join(read)} reads these" if len(read) == len(passed_over) else "convert them to flac or wav"
    if read and len(read) < len(passed_over):
        what += f"; --ext reads {' '.join(read)}"
    return [f"passed over by ending: {counts} ({what})"]


def refuse_unnamed(
    root: Path, folder: str, named: Container[str], reason: str, options: ManifestOptions, refusals: list[Refusal]
) -> None:
    """Refuse the audio in a folder below `root` that is not in `named`."""
    refused: list[Refusal] = []
    found = find_audio(root, options, refused, folder=folder)
    refusals += [one for one in [*(Refusal(path, reason) for path in found), *refused] if one.path not in named]


def read_clips(
    root: Path, paths: Sequence[str], options: ManifestOptions, refusals: list[Refusal], *, any_length: bool = False
) -> list[Clip]:
    """Usable clips among `paths`, in their order; the others are added to `refusals`.

    What has been read is kept in `options.dest` until `forget_journals`: of a run that was killed, only files that
    have changed since are read again. `any_length` lifts limits of length: an error rate is one of a whole test set.

    Raises:
        InputError: if the journal cannot be written.
    """
    absolute_root = os.path.abspath(root)
    rules = replace(options.rules, min_seconds=None, max_seconds=None) if any_length else options.rules
    journal = options.dest / (_ANY_LENGTH_JOURNAL_NAME if any_length else JOURNAL_NAME)
    header = f"{json.dumps([absolute_root, asdict(rules)])}\n".encode()
    with _named(journal):
        journal.parent.mkdir(parents=True, exist_ok=True)
        known, num_bytes = _load(journal, header, absolute_root)
        # without a buffer: nothing is lost by a kill, and closing the file writes nothing that could fail once more
        file = open(journal, "ab", buffering=0)  # noqa: SIM115 (closed below)
    scan = parallel_iter(
        functools.partial(_read_entry, root=absolute_root, rules=rules),
        [path for path in paths if path not in known],
        workers=options.workers,
        description="decoding files" if rules.verify else "reading headers",
        most_per_chunk=_FILES_PER_CHUNK,
    )
    results: list[Clip | Refusal] = []
    # the scan is closed too: where the journal cannot be written, its processes end before the error is reported
    with file, closing(scan):
        with _named(journal):
            file.truncate(num_bytes)
            if not num_bytes:
                file.write(header)
        for path in paths:
            entry = known.get(path)
            if entry is None:
                entry = next(scan)
                with _named(journal):
                    file.write(f"{json.dumps([path, *entry])}\n".encode())
            _, _, first, second = entry
            is_refusal = isinstance(first, str)
            results.append(Refusal(path, first, second) if is_refusal else Clip(path, first, file_rate_hz=second))
        next(scan, None)  # lets its progress bar come to its end
    return clips_of(results, refusals)


def _read_entry(path: str, root: str, rules: AudioRules) -> Entry:
    """Read one file. Its size and time are taken first, so that a file changed meanwhile is read again next time."""
    stamp = _stamp(os.path.join(root, path))
    result = read_clip(path, root, rules)
    if isinstance(result, Clip):
        return (*stamp, result.num_samples, result.file_rate_hz)
    return (*stamp, result.reason, result.detail)


def _load(journal: Path, header: bytes, root: str) -> tuple[dict[str, Entry], int]:
    """Entries of an earlier run by path, without files that have changed; bytes that hold whole lines of this scan."""
    known: dict[str, Entry] = {}
    if not os.path.lexists(journal):
        return known, 0
    if not stat.S_ISREG(journal.lstat().st_mode):  # what it links to would be overwritten
        raise InputError(
            f"{journal} is not a journal but a link, folder or device: remove it, or choose another --dest"
        )
    with open(journal, "rb") as file:
        # what another user says of the files is not believed
        if os.fstat(file.fileno()).st_uid != os.geteuid() or file.readline() != header:
            return known, 0
        num_bytes = len(header)
        for line in file:
            try:
                path, size, mtime_ns, first, second = json.loads(line)
                unchanged = _stamp(os.path.join(root, path)) == (size, mtime_ns)
            except (ValueError, TypeError, RecursionError):
                break
            if not (line.endswith(b"\n") and isinstance(path, str) and _is_result(first, second)):
                break
            known.pop(path, None)
            if unchanged:
                known[path] = (size, mtime_ns, first, second)
            num_bytes += len(line)
    return known, num_bytes


def _is_result(first: object, second: object) -> bool:
    """Whether these are samples and rate of a clip, or reason and detail of a refusal: see ``Entry``."""
    if isinstance(first, str):
        return isinstance(second, str)
    return type(first) is int and first > 0 and (second is None or (type(second) is int and second > 0))


@contextmanager
def _named(journal: Path) -> Iterator[None]:
    """Have an error of the disk name the journal."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{journal} cannot be written: {error.strerror or error}") from None


def _stamp(path: str) -> tuple[int, int]:
    """Size and time of change of a file, or of the archive that it is in; two zeros where there is none."""
    from ...data.manifest import archive_and_position

    try:
        status = os.stat(archive_and_position(path)[0])
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return 0, 0
    return status.st_size, status.st_mtime_ns


def clips_of(results: Iterable[Clip | Refusal], refusals: list[Refusal]) -> list[Clip]:
    """The clips among `results`; the others are added to `refusals`."""
    clips = []
    for result in results:
        if isinstance(result, Clip):
            clips.append(result)
        else:
            refusals.append(result)
    return clips


def forget_journals(dest: Path) -> None:
    """Remove what `read_clips` kept in `dest`: the manifests are written."""
    for name in (JOURNAL_NAME, _ANY_LENGTH_JOURNAL_NAME):
        (dest / name).unlink(missing_ok=True)
