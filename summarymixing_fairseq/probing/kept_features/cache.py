"""Hidden states of a split's clips on disk: a frozen encoder hears each clip once, for all epochs and all runs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.batching import batches_by_length, pad_batch
from ...data.manifest import OutsideRootError
from ...system.errors import InputError
from ...system.files import atomic_write
from .index import ABSENT, ELSEWHERE, JOURNAL_NAME, STATES_NAME, StateIndex, StateWriter, damaged, not_writable

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16}
META_NAME = "meta.json"
LOCK_NAME = "lock"
# Every encoder that is probed here: 50 frames a second of 16 kHz audio
SAMPLES_PER_FRAME = 320.0
_FORMAT = 1
_READER_THREADS = 4
_BATCHES_AHEAD = 2
_BAR_AFTER_SECONDS = 3.0

Read = Callable[[int], np.ndarray]
Encode = Callable[[Tensor, Tensor], tuple[Tensor, Sequence[int]]]


def cache_key(*parts: str | bytes) -> str:
    """One hash of everything that the states depend on; where one part ends and the next begins counts."""
    digest = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


class StateCache:
    """Hidden states of a split, ``cache[clip]``, in ``folder/key``.

    ``states.bin`` holds the clips' states one after the other, ``index.tsv`` says where, ``meta.json`` of what shape
    they are. A fill that dies, at whatever moment, is taken up again where it was. May be shared by data workers, by
    fork or by pickle.

    Args:
        folder: of all caches; key: of this one (see ``cache_key``).
        num_clips: in the split; num_states: S, of a frame; state_dim: D, of each.
        dtype: on disk, ``float32`` or ``float16`` (half the room, 11 bits of precision).

    Raises:
        InputError: for a cache that is there, but of another shape or damaged.
        ValueError: for another ``dtype``.
    """

    def __init__(self, folder: Path, key: str, num_clips: int, num_states: int, state_dim: int, dtype: str = "float32"):
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype!r}: must be one of {', '.join(DTYPES)}")
        self.folder = Path(folder) / key
        self.num_states = num_states
        self.state_dim = state_dim
        self.dtype = dtype
        self._meta = {
            "format": _FORMAT,
            "key": key,
            "num_clips": num_clips,
            "num_states": num_states,
            "state_dim": state_dim,
            "dtype": dtype,
        }
        self._frame_bytes = num_states * state_dim * np.dtype(dtype).itemsize
        self._file: Any = None  # opened by the process that reads
        self._load()

    def __len__(self) -> int:
        return self._meta["num_clips"]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    @property
    def num_frames(self) -> np.ndarray:
        """(num_clips,) int64, frames of each clip; -1 where there are none, yet or because it is bad."""
        return self._index.num_frames

    @property
    def bad(self) -> dict[int, str]:
        """Why clips have no states, by their number."""
        return self._index.bad

    def __getitem__(self, clip: int) -> np.ndarray:
        """(S, T, D) float32, the reader's own.

        Raises:
            InputError: for a bad clip, with its reason, or where the file has been cut short since.
            KeyError: for a clip that was never filled in.
        """
        if not 0 <= clip < len(self):
            raise IndexError(clip)
        num_frames = int(self._index.num_frames[clip])
        if num_frames == ABSENT:
            if clip in self.bad:
                raise InputError(self.bad[clip])
            raise KeyError(f"clip {clip} is not in {self.folder}: fill it first")
        states = np.empty((self.num_states, num_frames, self.state_dim), self.dtype)
        try:
            if self._file is None:
                self._file = open(self.folder / STATES_NAME, "rb", buffering=0)  # noqa: SIM115  (for good)
            # by position: a forked process shares this one's
            complete = _read_into(self._file.fileno(), states, int(self._index.offsets[clip]))
        except OSError as error:
            raise damaged(self.folder, f"{STATES_NAME}: {error.strerror or error}") from None
        if not complete:
            raise damaged(self.folder, f"{STATES_NAME} ends before clip {clip} does")
        # torch's conversion is several times as fast as numpy's
        return states if self.dtype == "float32" else torch.from_numpy(states).float().numpy()

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
        """Encode the clips that are not there yet; one process at a time, others wait for it.

        A clip that cannot be read, or is too short, is recorded as bad and tried again by the next ``fill``.

        Args:
            read: clip number -> (num_samples,) float32; InputError for a bad clip. Called from several threads.
            encode: source (B, num_samples) float32, padding mask (B, num_samples) bool True = padding, both on the
                CPU -> states (B, S, T, D), valid frames of each clip. Whatever its padded frames hold is left out.
            num_samples: of every clip of the split, as far as is known before it is read.
            max_batch_samples: padded samples of a batch.
            progress: what the progress bar calls it; it shows only if it takes some seconds.
            names: of every clip, for errors.
            min_samples: that make a frame; samples_per_frame: for the estimate of the room needed.

        Raises:
            InputError: for too little room on the disk, or states that are not finite. What is encoded by then is kept.
        """
        if not len(num_samples) == len(names) == len(self):
            raise ValueError(f"{len(num_samples)} lengths and {len(names)} names for {len(self)} clips")
        if not len(self._index.missing()):
            return
        with _lock(self.folder):
            self._load()  # another process may have filled it meanwhile
            missing = self._index.missing().tolist()
            if not missing:
                return
            if not (self.folder / META_NAME).exists():
                with atomic_write(self.folder / META_NAME) as file:
                    json.dump(self._meta, file, indent=1)
            with StateWriter(self.folder, self._index) as writer:
                lengths = [int(num_samples[clip]) for clip in missing]
                self._check_room(self.needed_bytes(lengths, samples_per_frame), progress)
                batches = [[missing[i] for i in batch] for batch in batches_by_length(lengths, max_batch_samples)]
                self._encode_all(writer, read, encode, batches, progress, names, min_samples)
            self._load()

    def _encode_all(
        self,
        writer: StateWriter,
        read: Read,
        encode: Encode,
        batches: list[list[int]],
        progress: str,
        names: Sequence[str],
        min_samples: int,
    ) -> None:
        from tqdm import tqdm

        num_missing = sum(map(len, batches))
        bar = tqdm(
            total=len(self),
            initial=len(self) - num_missing,
            desc=progress,
            unit="clip",
            mininterval=0.5,
            delay=_BAR_AFTER_SECONDS,
        )
        written: Future | None = None
        with closing(_read_ahead(read, batches)) as readings, ThreadPoolExecutor(1) as disk, bar:
            for batch, futures in readings:
                waveforms, bad = {}, {}
                for clip, future in zip(batch, futures):
                    try:
                        waveforms[clip] = future.result()
                    except OutsideRootError:
                        raise
                    except InputError as error:
                        bad[clip] = str(error)
                for clip in [clip for clip, waveform in waveforms.items() if len(waveform) < min_samples]:
                    bad[clip] = _too_short(names[clip], len(waveforms.pop(clip)))
                states = self._encode(encode, waveforms, names) if waveforms else {}
                too_short = waveforms.keys() - states.keys()
                bad.update({clip: _too_short(names[clip], len(waveforms[clip])) for clip in too_short})
                # the next batch is encoded while this one goes to the disk
                if written is not None:
                    written.result()
                written = disk.submit(writer.add, states, bad)
                bar.update(len(batch))
            if written is not None:
                written.result()

    def _encode(self, encode: Encode, waveforms: dict[int, np.ndarray], names: Sequence[str]) -> dict[int, np.ndarray]:
        """Each clip's (S, T, D) in the cache's type; none of a clip without a frame."""
        with torch.no_grad():
            computed, lengths = encode(*pad_batch(list(waveforms.values()), torch.device("cpu")))
            expected = (len(waveforms), self.num_states, self.state_dim)
            if computed.dim() != 4 or (*computed.shape[:2], computed.size(3)) != expected:
                raise ValueError(f"states {tuple(computed.shape)} for (B, S, D) = {expected}")
            states = computed.to(DTYPES[self.dtype])
            # a sum is finite where all are; in float32, which float16's largest cannot overflow
            sums = [states[row, :, :length].sum(dtype=torch.float32) for row, length in enumerate(lengths)]
            finite = torch.stack(sums).isfinite().tolist()
            for row, (clip, length) in enumerate(zip(waveforms, lengths)):
                if not finite[row] and not states[row, :, :length].isfinite().all():
                    raise _not_finite(names[clip], computed[row, :, :length])
            states = states.cpu().numpy()
        return {clip: states[row, :, :length] for row, (clip, length) in enumerate(zip(waveforms, lengths)) if length}

    def _check_room(self, needed_bytes: int, progress: str) -> None:
        free_bytes = shutil.disk_usage(self.folder).free
        if needed_bytes > free_bytes:
            raise InputError(
                f"caching the hidden states of {progress} takes about {needed_bytes / 1e9:.3g} GB, and {self.folder} "
                f"has room for {free_bytes / 1e9:.3g} GB: {ELSEWHERE}"
            )

    def _load(self) -> None:
        """Read what is there now."""
        has_journal = (self.folder / JOURNAL_NAME).exists()
        try:
            meta = json.loads((self.folder / META_NAME).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if has_journal:  # a fill writes it first
                raise damaged(self.folder, f"{META_NAME} is missing") from None
            meta = self._meta
        except OSError as error:
            raise InputError(f"{self.folder / META_NAME} cannot be read: {error.strerror or error}") from None
        except ValueError:
            raise damaged(self.folder, f"{META_NAME} is not JSON") from None
        if not isinstance(meta, dict):
            raise damaged(self.folder, f"{META_NAME} is not a dictionary")
        for name, value in self._meta.items():
            if meta.get(name) != value:
                raise InputError(
                    f"cached hidden states in {self.folder} have {name} {meta.get(name)!r} where {value!r} is needed: "
                    f"delete {self.folder}, it is filled again"
                )
        self._index = StateIndex(self.folder, len(self), self._frame_bytes)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a cache alone; the system lets go of it when the process dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK_NAME, "ab")  # noqa: SIM115
    except OSError as error:
        raise not_writable(folder, error) from None
    with file:
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.warning("another run is filling %s: waiting for it", folder)
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            raise not_writable(folder, error) from None
        yield


def _read_ahead(read: Read, batches: list[list[int]]) -> Iterator[tuple[list[int], list[Future]]]:
    """Batches with what is or will be read of their clips, the next ones being read meanwhile."""
    pool = ThreadPoolExecutor(_READER_THREADS)
    ahead: deque[tuple[list[int], list[Future]]] = deque()
    try:
        for batch in batches:
            ahead.append((batch, [pool.submit(read, clip) for clip in batch]))
            if len(ahead) > _BATCHES_AHEAD:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _too_short(name: str, num_samples: int) -> str:
    return f"{name} is too short: the encoder makes no frame of its {num_samples} samples"


def _not_finite(name: str, states: Tensor) -> InputError:
    if states.isfinite().all():
        largest = states.abs().max().item()
        return InputError(f"{name}: hidden states as large as {largest:.3g} do not fit float16: keep them in float32")
    return InputError(
        f"{name}: its hidden states are not finite numbers: leave it out of the manifest if it is the only one, "
        "otherwise the encoder's checkpoint is broken"
    )


def _read_into(descriptor: int, array: np.ndarray, offset: int) -> bool:
    """Fill an array from a position of a file; False where the file ends before."""
    # (...) -> (bytes,)
    rest = memoryview(array.reshape(-1).view(np.uint8))
    while rest:  # one call reads 2 GB at most
        num_bytes = os.preadv(descriptor, [rest], offset)
        if not num_bytes:
            return False
        rest, offset = rest[num_bytes:], offset + num_bytes
    return True
