"""The features of a frozen encoder, kept on disk so that each clip is encoded once for all epochs and runs."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FairseqDataset
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor
from tqdm import tqdm

from ..data.manifest import OutsideRootError
from ..data.reading import batches_by_length, pad_batch
from ..data.segments import SegmentDataset
from ..system.errors import InputError
from ..system.files import atomic_write
from ..system.finite import is_finite

logger = logging.getLogger(__name__)

# Samples, padding included, of a batch that the encoder computes at once; its states are one file.
BATCH_SAMPLES = 60 * 16_000
BATCHES_AHEAD = 2
BAR_AFTER_SECONDS = 3.0
ADVICE = "task.cache_dir can name another disk, task.cache=false goes without"

Encode = Callable[[Tensor, Tensor], tuple[Tensor, Sequence[int]]]


def cache_key(*parts: str | bytes) -> str:
    """SHA-256, in hexadecimal, of everything that the states depend on; the boundaries of the parts count too."""
    digest = hashlib.sha256()
    for part in parts:
        part = part.encode() if isinstance(part, str) else part
        digest.update(b"%d:" % len(part) + part)
    return digest.hexdigest()


class StateCache:
    """Hidden states of the clips of a split, ``cache[clip]``, filled by one process at a time and read by many.

    A file of the folder holds the float32 states of a batch of clips, under their numbers, and a checksum of each. It
    is there only as a whole, whatever is killed in between.

    Args:
        folder: of this cache alone; see ``cache_key``.
        clip_bytes: (clips,), about what the states of each clip of the split take on disk.

    Raises:
        InputError: for a cache that is damaged or cannot be read.
    """

    def __init__(self, folder: Path, clip_bytes: np.ndarray):
        self.folder = folder
        self.clip_bytes = clip_bytes
        self._load()

    def _load(self) -> None:
        """Find out which file each clip is in."""
        self.bad: dict[int, str] = {}  # why clips could not be encoded
        self._file_of: dict[int, Path] = {}
        for path in self.folder.glob("*.safetensors"):
            try:
                with safe_open(path, "np") as file:
                    self._file_of.update((int(clip), path) for clip in file.keys())  # noqa: SIM118  # no dict
            except (OSError, SafetensorError, ValueError) as error:
                raise self._damaged(error) from None

    def missing(self) -> list[int]:
        """Clips without states, bad ones among them."""
        return [clip for clip in range(len(self.clip_bytes)) if clip not in self._file_of]

    def __getitem__(self, clip: int) -> np.ndarray:
        """(S, T, D) float32.

        Raises:
            InputError: for a bad clip, with its reason, or a file that has been removed, cut short or changed.
            KeyError: for a clip that has not been encoded.
        """
        if clip in self.bad:
            raise InputError(self.bad[clip])
        if clip not in self._file_of:
            raise KeyError(f"clip {clip} is not in {self.folder}: fill it first")
        try:
            with safe_open(self._file_of[clip], "np") as file:
                states = file.get_tensor(str(clip))
                expected = (file.metadata() or {}).get(str(clip))
        except (OSError, SafetensorError) as error:
            raise self._damaged(error) from None
        if _checksum(states) != expected:
            raise self._damaged(f"{self._file_of[clip].name} holds other bytes than were written")
        return states

    def fill(self, audio: SegmentDataset, encode: Encode) -> None:
        """Encode the clips that are missing. One process does it at a time; others wait.

        A clip that cannot be read is recorded as bad and tried again by the next ``fill``.

        Args:
            audio: the clips. Read from several threads.
            encode: source (B, num_samples) float32, padding mask (B, num_samples) bool True = padding, both on the
                CPU -> states (B, S, T, D) float32 on the CPU, valid frames of each clip.

        Raises:
            InputError: for too little room on the disk, or states that are not finite. What is encoded by then is kept.
        """

        def read(batch: list[int]) -> dict[int, np.ndarray]:
            """Waveforms of the clips of a batch that can be encoded."""
            waveforms = {}
            for clip in batch:
                try:
                    waveforms[clip] = audio[clip]["source"].numpy()
                except OutsideRootError:
                    raise
                except InputError as error:
                    self.bad[clip] = str(error)
            return waveforms

        if not self.missing():
            return
        split = audio.manifest.path.stem
        with self._locked():
            self._load()  # another process may have filled it
            missing, total = self.missing(), len(self.clip_bytes)
            self._check_room(missing, split)
            lengths = [int(audio.sizes[clip]) for clip in missing]
            batches = [[missing[i] for i in batch] for batch in batches_by_length(lengths, BATCH_SAMPLES)]
            done = total - len(missing)
            bar = tqdm(total=total, initial=done, desc=split, unit="clip", mininterval=0.5, delay=BAR_AFTER_SECONDS)
            with closing(_read_ahead(read, batches)) as readings, bar:
                for batch, waveforms in zip(batches, readings):
                    if waveforms:
                        states, num_frames = encode(*pad_batch(list(waveforms.values()), torch.device("cpu")))
                        self._write(dict(zip(waveforms, zip(states, num_frames))), audio)
                    bar.update(len(batch))

    def _write(self, encoded: dict[int, tuple[Tensor, int]], audio: SegmentDataset) -> None:
        """Write the states (S, T, D) of the clips of a batch, less their padding, as one file."""
        arrays = {}
        for clip, (padded, num_frames) in encoded.items():
            states = padded[:, :num_frames]
            arrays[str(clip)] = np.ascontiguousarray(states.numpy())  # safetensors writes what lies in memory
            if not is_finite(states):
                raise InputError(
                    f"{audio.fnames[clip]}: its hidden states are not finite numbers: leave it out of the manifest if "
                    "it is the only one, otherwise the encoder's checkpoint is broken"
                )
        path = self.folder / f"{min(encoded)}.safetensors"
        try:
            with atomic_write(path, "wb") as file:
                file.write(save(arrays, {clip: _checksum(states) for clip, states in arrays.items()}))
                file.flush()
                os.fsync(file.fileno())
        except InputError as error:
            raise self._not_written(error) from None
        self._file_of.update(dict.fromkeys(encoded, path))

    def _locked(self) -> AbstractContextManager:
        """Hold the cache's lock, which the system releases if the process dies; remove what such a process left."""
        lock = filelock.FileLock(self.folder / "lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                held = lock.acquire(timeout=0)
            except filelock.Timeout:
                logger.warning("another run is filling %s: waiting for it", self.folder)
                held = lock.acquire()
            for path in self.folder.glob(".*.tmp"):
                path.unlink()
        except (OSError, NotImplementedError) as error:  # the latter on a file system without locks
            raise self._not_written(error) from None
        return held

    def _check_room(self, missing: list[int], split: str) -> None:
        needed_bytes, free_bytes = self.clip_bytes[missing].sum(), shutil.disk_usage(self.folder).free
        if needed_bytes > free_bytes:
            raise InputError(
                f"caching the hidden states of {split} takes about {needed_bytes / 1e9:.3g} GB, and {self.folder} "
                f"has room for {free_bytes / 1e9:.3g} GB: {ADVICE}"
            )

    def _damaged(self, error: Exception | str) -> InputError:
        return InputError(
            f"cached hidden states in {self.folder} are damaged ({error}): delete {self.folder}, it is filled again"
        )

    def _not_written(self, error: Exception) -> InputError:
        return InputError(
            f"cached hidden states in {self.folder} cannot be written ({error}), what is there is kept: {ADVICE}"
        )


def _checksum(states: np.ndarray) -> str:
    """CRC-32 of the bytes, in hexadecimal: shows what a disk has changed, at 1.6 GB a second."""
    return f"{zlib.crc32(states.data):08x}"


def _read_ahead(read: Callable[[list[int]], Any], batches: list[list[int]]) -> Generator[Any, None, None]:
    """What is read of each batch; the next batches are read meanwhile."""
    pool = ThreadPoolExecutor(BATCHES_AHEAD + 1)
    ahead: deque[Future] = deque()
    try:
        for batch in batches:
            ahead.append(pool.submit(read, batch))
            if len(ahead) > BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class CachedStatesDataset(BaseWrapperDataset):
    """The clips of an audio dataset as cached hidden states.

    Names, order and lengths (in samples) are those of the audio, so that batches are the same with and without a cache.
    Batches are always padded. fairseq's ``AddTargetDataset`` and our ``SpeechDataset`` wrap this one.

    Args:
        dataset: of the audio. Its clips must be the same in every epoch: neither random chunks nor cropped.

    Attributes:
        cache: a ``StateCache``, whose clip i is clip i of the dataset; None until it has been filled.
    """

    def __init__(self, dataset: FairseqDataset):
        super().__init__(dataset)
        self.cache: Any = None

    def __getattr__(self, name: str) -> Any:
        # fairseq asks its audio datasets for more than a wrapper passes on (skipped_indices, fnames, ...).
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``id`` and ``states`` (S, T, D) float32. Raises InputError for a clip that could not be encoded."""
        return {"id": index, "states": torch.from_numpy(self.cache[index])}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Batch of clips.

        Returns:
            ``id`` (B,); ``num_samples``, a list, of the audio; and ``net_input``: ``states`` (B, S, T, D) float32, zero
            at padding, and ``padding_mask`` (B, T) bool, True = padding, or None if there is no padding.
        """
        if not samples:
            return {}
        clips = [sample["states"] for sample in samples]
        num_frames = torch.tensor([clip.size(1) for clip in clips])
        num_states, _, state_dim = clips[0].shape
        states = clips[0].new_zeros(len(clips), num_states, int(num_frames.max()), state_dim)
        for row, clip in zip(states, clips):
            row[:, : clip.size(1)] = clip
        padding_mask = torch.arange(states.size(2)) >= num_frames[:, None]
        clip_numbers = [sample["id"] for sample in samples]
        return {
            "id": torch.tensor(clip_numbers),
            "num_samples": np.asarray(self.sizes)[clip_numbers].tolist(),
            "net_input": {"states": states, "padding_mask": padding_mask if padding_mask.any() else None},
        }
