"""Finding audio files below a directory and reading their headers, in parallel processes.

Processes, not threads: a header scan spends its time inside calls that hold the interpreter's lock.
"""

from __future__ import annotations

import functools
import math
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from writer import Clip, ManifestError, Refusal, path_problem

EXTENSIONS = ("flac", "wav", "ogg", "opus", "mp3")

# Starting a process costs as much as some dozens of headers: fewer items are worked on in this process.
_ITEMS_PER_WORKER = 64
# libsndfile reports a stream whose header leaves the length open as 2^63 - 1 samples.
_MAX_PLAUSIBLE_SAMPLES = 2**40

Item = TypeVar("Item")
Result = TypeVar("Result")


def find_audio(root: Path, extensions: Sequence[str] = EXTENSIONS) -> tuple[list[str], list[Refusal]]:
    """Paths of the audio files below `root`, relative to it, in posix form and sorted.

    Endings are compared without regard to case. Hidden files and folders (names that begin with a dot) are
    skipped. Links to files and to folders are followed, but each folder is entered once only, under its
    real name where it has one below `root`: a loop of links ends, and nothing is listed twice that way.
    Refused: dead links, folders that cannot be read, names that a manifest cannot hold.
    """
    if not root.is_dir():
        what = "is no directory" if root.exists() else "does not exist"
        raise ManifestError(f"{root} {what}: give the folder that holds the audio")
    # A colon in the root harms only endings that fairseq does not know: those are judged file by file.
    absolute_root = os.path.abspath(root)
    if problem := path_problem(os.path.join(absolute_root, "x.wav")):
        raise ManifestError(f"{root}: {problem}")
    endings = tuple("." + extension.lower().lstrip(".") for extension in extensions)
    found: list[str] = []
    refused: list[Refusal] = []
    entered: set[tuple[int, int]] = set()
    real_folders, linked_folders = deque([""]), deque()
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
            if os.path.isdir(entry.path):  # unlike entry.is_dir(), False for a link to itself
                (linked_folders if entry.is_symlink() else real_folders).append(path)
            elif not entry.name.lower().endswith(endings):
                continue
            elif problem := path_problem(path) or path_problem(os.path.join(absolute_root, path)):
                refused.append(Refusal(path, problem))
            elif os.path.isfile(entry.path):
                found.append(path)
            elif entry.is_symlink():
                refused.append(Refusal(path, "dead link"))
    return sorted(found), refused


def read_header(
    path: str, root: str, sample_rate_hz: int, min_seconds: float | None, max_seconds: float | None
) -> Clip | Refusal:
    """Length of one file, or why it is refused. Any number of channels is allowed: fairseq averages them."""
    import soundfile

    try:
        with soundfile.SoundFile(os.path.join(root, path)) as file:
            rate_hz, num_samples = file.samplerate, file.frames
            if num_samples > _MAX_PLAUSIBLE_SAMPLES:
                return Refusal(path, "length not in the header (encode it again)")
            if num_samples <= 0:
                return Refusal(path, "no samples")
            # A header keeps its promise of samples when the file's end is lost: look at the last one.
            file.seek(num_samples - 1)
            if len(file.read(1, dtype="int16")) != 1:
                return Refusal(path, "truncated (its last sample cannot be read)")
    except soundfile.LibsndfileError as error:
        if os.path.getsize(os.path.join(root, path)) == 0:
            return Refusal(path, "empty file")
        return Refusal(path, "unreadable or truncated", error.error_string)
    except (OSError, RuntimeError) as error:
        return Refusal(path, "unreadable or truncated", getattr(error, "strerror", None) or str(error))
    if rate_hz != sample_rate_hz:
        return Refusal(path, f"sample rate {rate_hz} Hz, not {sample_rate_hz} Hz (resample it first)")
    seconds = num_samples / sample_rate_hz
    if min_seconds is not None and seconds < min_seconds:
        return Refusal(path, f"shorter than {min_seconds:g} s", f"{seconds:.3f} s")
    if max_seconds is not None and seconds > max_seconds:
        return Refusal(path, f"longer than {max_seconds:g} s", f"{seconds:.3f} s")
    return Clip(path, num_samples)


def read_headers(
    root: Path,
    paths: Sequence[str],
    *,
    sample_rate_hz: int = 16000,
    min_seconds: float | None = None,
    max_seconds: float | None = None,
    workers: int | None = None,
) -> tuple[list[Clip], list[Refusal]]:
    """Usable clips among `paths` and refusals, both in the order of `paths`."""
    read = functools.partial(
        read_header,
        root=os.path.abspath(root),
        sample_rate_hz=sample_rate_hz,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
    )
    results = parallel_map(read, paths, workers=workers, description="reading headers")
    clips = [result for result in results if isinstance(result, Clip)]
    return clips, [result for result in results if isinstance(result, Refusal)]


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None,
    description: str,
    items_per_worker: int = _ITEMS_PER_WORKER,
) -> list[Result]:
    """`[function(item) for item in items]` in up to `workers` processes, with a progress bar on stderr."""
    from tqdm import tqdm

    workers = min(workers or os.cpu_count() or 1, math.ceil(len(items) / items_per_worker))
    bar = functools.partial(
        tqdm,
        total=len(items),
        desc=description,
        unit="file",
        mininterval=0.5 if sys.stderr.isatty() else 10,  # a log file gets few lines
    )
    if workers <= 1:
        return list(bar(map(function, items)))

    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # "spawn" behaves alike on all systems, and does not copy the threads and locks of a big parent process.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    chunk_size = max(1, min(32, len(items) // (4 * workers)))
    try:
        with _ctrl_c_ignored():  # the processes start here, and inherit it: this one alone answers to Ctrl-C
            results = pool.map(function, items, chunksize=chunk_size)
        return list(bar(results))
    except BrokenProcessPool:
        raise ManifestError(f"a process died while {description}: give --workers 1, or free memory") from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _ctrl_c_ignored() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can set a signal's handler
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
