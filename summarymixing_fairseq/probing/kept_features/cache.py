"""A file of hidden states, one array a clip, that is filled by one process at a time and read by many."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import filelock
import numpy as np
import torch
from torch import Tensor

from ...data.manifest import OutsideRootError
from ...data.reading import batches_by_length, pad_batch
from ...system.errors import InputError
from ...system.files import atomic_write

logger = logging.getLogger(__name__)

STATES_NAME, INDEX_NAME, LOCK_NAME = "states.bin", "index.json", "lock"
ABSENT = -1
# The index is written this often while the cache is filled: a kill costs no more than this time.
COMMIT_SECONDS = 5.0
# All encoders that can be probed give 50 frames a second of audio at 16 kHz.
SAMPLES_PER_FRAME = 320.0
BAR_AFTER_SECONDS = 3.0
READER_THREADS = 4
BATCHES_AHEAD = 2
ADVICE = "task.cache_dir can name another disk, task.cache=false goes without"

Read = Callable[[int], np.ndarray]
Encode = Callable[[Tensor, Tensor], tuple[Tensor, Sequence[int]]]


def cache_key(*parts: str | bytes) -> str:
    """SHA-256, in hexadecimal, of everything that the states depend on; the boundaries of the parts count too."""
    digest = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


class StateCache:
    """Hidden states of the clips of a split, ``cache[clip]``, in the folder ``folder/key``.

    ``states.bin`` holds the float32 states of one clip after another. ``index.json`` lists the clips in that order with
    their frames, and why clips are bad. It is replaced as a whole, and only once the states are on the disk. What
    follows the listed clips in ``states.bin`` is left from a process that was killed, and is overwritten.

    Args:
        folder: of all caches; key: of this one (see ``cache_key``).
        num_clips: in the split; num_states: S, of a frame; state_dim: D, of each.

    Raises:
        InputError: for a cache that is damaged or cannot be read.
    """

    def __init__(self, folder: Path, key: str, num_clips: int, num_states: int, state_dim: int):
        self.folder = Path(folder) / key
        self.num_clips, self.num_states, self.state_dim = num_clips, num_states, state_dim
        self._frame_bytes = 4 * num_states * state_dim
        self._load()

    def _load(self) -> None:
        """Read the index as it is now."""
        self.num_frames = np.full(self.num_clips, ABSENT, np.int64)
        self._offsets = np.zeros(self.num_clips, np.int64)
        self._end = 0
        self._states: np.memmap | None = None  # opened by each process that reads
        self.bad: dict[int, str] = {}
        try:
            states_bytes = (self.folder / STATES_NAME).stat().st_size
            index = json.loads((self.folder / INDEX_NAME).read_text(encoding="utf-8"))
            for clip, num_frames in index["clips"]:
                self._add(clip, num_frames)
            self.bad.update((int(clip), reason) for clip, reason in index["bad"].items())
        except FileNotFoundError:
            return  # nothing has been filled in
        except OSError as error:
            raise InputError(f"{self.folder} cannot be read: {error.strerror or error}") from None
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            raise self._damaged(f"{INDEX_NAME} is not an index of {self.num_clips} clips") from None
        if states_bytes < self._end:
            raise self._damaged(f"{STATES_NAME} has {states_bytes} bytes of {self._end}")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_states": None}

    def _add(self, clip: int, num_frames: int) -> None:
        self._offsets[clip], self.num_frames[clip] = self._end, num_frames
        self._end += num_frames * self._frame_bytes

    def missing(self) -> list[int]:
        """Clips without states, bad ones among them."""
        return np.flatnonzero(self.num_frames == ABSENT).tolist()

    def __getitem__(self, clip: int) -> np.ndarray:
        """(S, T, D) float32.

        Raises:
            InputError: for a bad clip, with its reason, or a file that has been removed or cut short.
            KeyError: for a clip that has not been encoded.
        """
        num_frames = int(self.num_frames[clip])
        if num_frames == ABSENT:
            if clip in self.bad:
                raise InputError(self.bad[clip])
            raise KeyError(f"clip {clip} is not in {self.folder}: fill it first")
        first, num_values = int(self._offsets[clip]) // 4, num_frames * self._frame_bytes // 4
        try:
            if self._states is None:
                self._states = np.memmap(self.folder / STATES_NAME, np.float32, "r", shape=self._end // 4)
            states = np.array(self._states[first : first + num_values])
            return states.reshape(self.num_states, num_frames, self.state_dim)
        except (OSError, ValueError):
            raise self._damaged(f"{STATES_NAME} has no clip {clip}") from None

    def needed_bytes(self, num_samples: Iterable[int], samples_per_frame: float = SAMPLES_PER_FRAME) -> int:
        """About what the states of clips of these lengths take on disk."""
        return sum(math.ceil(length / samples_per_frame) for length in num_samples) * self._frame_bytes

    def fill(
        self,
        read: Read,
        encode: Encode,
        num_samples: Sequence[int],
        max_batch_samples: int,
        progress: str,
        *,
        names: Sequence[str],
        min_samples: int = 1,
        samples_per_frame: float = SAMPLES_PER_FRAME,
    ) -> None:
        """Encode the clips that are missing. One process does it at a time; others wait.

        A clip that cannot be read, or is too short, is recorded as bad and tried again by the next ``fill``.

        Args:
            read: clip -> (num_samples,) float32; raises InputError for a bad clip. Called from several threads.
            encode: source (B, num_samples) float32, padding mask (B, num_samples) bool True = padding, both on the
                CPU -> states (B, S, T, D) float32 on the CPU, valid frames of each clip.
            num_samples: of every clip, as its manifest says.
            max_batch_samples: samples of a batch, padding included.
            progress: label of the progress bar, which shows if it takes some seconds.
            names: of every clip, for errors.
            min_samples: of the shortest clip that has a frame.
            samples_per_frame: for the estimate of the room needed.

        Raises:
            InputError: for too little room on the disk, or states that are not finite. What is encoded by then is kept.
        """
        from tqdm import tqdm

        if not self.missing():
            return
        with self._locked():
            self._load()  # another process may have filled it
            missing = self.missing()
            lengths = [int(num_samples[clip]) for clip in missing]
            self._check_room(self.needed_bytes(lengths, samples_per_frame), progress)
            batches = [[missing[i] for i in batch] for batch in batches_by_length(lengths, max_batch_samples)]
            bar = tqdm(
                total=self.num_clips,
                initial=self.num_clips - len(missing),
                desc=progress,
                unit="clip",
                mininterval=0.5,
                delay=BAR_AFTER_SECONDS,
            )
            committed_at = time.monotonic()
            with self._states_file() as file, closing(_read_ahead(read, batches)) as readings, bar:
                for batch, futures in readings:
                    waveforms = {}
                    for clip, future in zip(batch, futures):
                        try:
                            waveform = future.result()
                        except OutsideRootError:
                            raise
                        except InputError as error:
                            self.bad[clip] = str(error)
                            continue
                        if len(waveform) < min_samples:
                            self.bad[clip] = f"{names[clip]} is too short: its {len(waveform)} samples give no frame"
                        else:
                            waveforms[clip] = waveform
                    for clip, states in self._encode(encode, waveforms, names):
                        self._append(file, clip, states)
                    if time.monotonic() >= committed_at + COMMIT_SECONDS:
                        self._commit(file)
                        committed_at = time.monotonic()
                    bar.update(len(batch))

    def _encode(
        self, encode: Encode, waveforms: dict[int, np.ndarray], names: Sequence[str]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Clips with their states (S, T, D), without padding."""
        if not waveforms:
            return
        states, lengths = encode(*pad_batch(list(waveforms.values()), torch.device("cpu")))
        finite = states.sum((1, 3)).isfinite()  # (B, T): a sum is finite if all its terms are
        for row, (clip, length) in enumerate(zip(waveforms, lengths)):
            if not finite[row, :length].all():
                raise InputError(
                    f"{names[clip]}: its hidden states are not finite numbers: leave it out of the manifest if it is "
                    "the only one, otherwise the encoder's checkpoint is broken"
                )
            yield clip, states[row, :, :length].numpy()

    @contextmanager
    def _states_file(self) -> Iterator[IO[bytes]]:
        """The file of states, to append to; what it holds in the end is committed.

        Raises:
            InputError: if the disk is full or refuses.
        """
        try:
            with open(self.folder / STATES_NAME, "ab", buffering=0) as file:
                file.truncate(self._end)
                try:
                    yield file
                finally:
                    self._commit(file)
        except OSError as error:
            raise self._not_writable(error) from None

    def _append(self, file: IO[bytes], clip: int, states: np.ndarray) -> None:
        rest = memoryview(np.ascontiguousarray(states)).cast("B")  # type: ignore[arg-type]  # an array is a buffer
        while rest:  # a write may take less than it is given
            rest = rest[file.write(rest) :]
        self._add(clip, states.shape[1])
        self.bad.pop(clip, None)

    def _commit(self, file: IO[bytes]) -> None:
        """Write the index, once the states that it lists are on the disk."""
        file.truncate(self._end)  # drops what a full disk took of a clip
        os.fsync(file.fileno())
        clips = np.argsort(self._offsets, kind="stable")
        clips = clips[self.num_frames[clips] != ABSENT]
        try:
            with atomic_write(self.folder / INDEX_NAME) as index:
                json.dump({"clips": np.stack([clips, self.num_frames[clips]], 1).tolist(), "bad": self.bad}, index)
                index.flush()
                os.fsync(index.fileno())
        except InputError as error:
            raise self._not_writable(error) from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the cache's lock, which the system releases if the process dies."""
        lock = filelock.FileLock(self.folder / LOCK_NAME)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                logger.warning("another run is filling %s: waiting for it", self.folder)
                lock.acquire()
        except (OSError, NotImplementedError) as error:  # the latter on a file system without locks
            raise self._not_writable(error) from None
        try:
            yield
        finally:
            lock.release()

    def _check_room(self, needed_bytes: int, progress: str) -> None:
        free_bytes = shutil.disk_usage(self.folder).free
        if needed_bytes > free_bytes:
            raise InputError(
                f"caching the hidden states of {progress} takes about {needed_bytes / 1e9:.3g} GB, and {self.folder} "
                f"has room for {free_bytes / 1e9:.3g} GB: {ADVICE}"
            )

    def _damaged(self, what: str) -> InputError:
        return InputError(
            f"cached hidden states in {self.folder} are damaged ({what}): delete {self.folder}, it is filled again"
        )

    def _not_writable(self, error: Exception) -> InputError:
        return InputError(
            f"cached hidden states in {self.folder} cannot be written ({getattr(error, 'strerror', None) or error}), "
            f"what is there is kept: {ADVICE}"
        )


def _read_ahead(read: Read, batches: list[list[int]]) -> Generator[tuple[list[int], list[Future]], None, None]:
    """Batches, and what is or will be read of their clips; the next batches are read meanwhile."""
    pool = ThreadPoolExecutor(READER_THREADS)
    ahead: deque[tuple[list[int], list[Future]]] = deque()
    try:
        for batch in batches:
            ahead.append((batch, [pool.submit(read, clip) for clip in batch]))
            if len(ahead) > BATCHES_AHEAD:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)
