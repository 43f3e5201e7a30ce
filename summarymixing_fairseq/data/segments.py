"""fairseq's dataset of audio files, with rows that are parts of longer files and files at any rate."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq.data.audio.audio_utils import read_from_stored_zip
from fairseq.data.audio.raw_audio_dataset import FileAudioDataset, RawAudioDataset

from ..system.errors import InputError
from .audio import read_segment
from .manifest import Clip, Manifest, zip_and_position


class _Names(Sequence):
    """Paths of a manifest's rows as fairseq's tools ask for them."""

    def __init__(self, manifest: Manifest):
        self._manifest = manifest

    def __len__(self) -> int:
        return len(self._manifest)

    def __getitem__(self, index: int) -> str:
        return self._manifest.name(index)


class SegmentDataset(FileAudioDataset):
    """fairseq's ``FileAudioDataset`` with five differences.

    A row may be a part of a file: only that part is read. Files at another rate than the task's are resampled, with
    several channels averaged. Paths are not Python strings (see ``Manifest``). A clip that cannot be read raises
    InputError at once instead of being tried three times. What a clip too long is cropped to depends on seed, epoch and
    batch alone, where fairseq draws from numpy's generator, which no resumed run finds as it was.

    Args:
        manifest: rows to read, as loaded with fairseq's ``min_sample_size``.
        seed: of the crops.
        others: of ``RawAudioDataset``; num_buckets: as ``FileAudioDataset``'s.
    """

    def __init__(self, manifest: Manifest, sample_rate: int, num_buckets: int = 0, *, seed: int = 1, **others: Any):
        RawAudioDataset.__init__(self, sample_rate, **others)  # FileAudioDataset's own would read the file again
        self.manifest = manifest
        self.root_dir = manifest.root
        self.fnames = _Names(manifest)
        self.skipped_indices = manifest.skipped
        self.sizes = manifest.sizes
        self.set_bucket_info(num_buckets)
        self.seed = seed
        # shared with data workers, which live on from epoch to epoch with the dataset they were started with
        self._epoch = torch.ones((), dtype=torch.int64).share_memory_()
        self._crops = np.random.default_rng(seed % 2**64)

    @property
    def epoch(self) -> int:
        """The epoch that is under way, counted from 1."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """As fairseq's, which says here which epoch begins."""
        super().set_epoch(epoch)
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``id`` and ``source``, (num_samples,) float32, normalised if the task asks for it.

        Raises:
            InputError: for a clip that cannot be read or ends before it should; OutsideRootError for one that is not
                below the manifest's root.
        """
        clip = self.manifest[index]
        file = open_clip(clip)
        if clip.offset is None:
            samples = read_segment(file, sample_rate_hz=self.sample_rate)
        else:
            samples = read_segment(file, clip.offset, clip.num_samples, sample_rate_hz=self.sample_rate)
        return {"id": index, "source": self.postprocess(torch.from_numpy(samples), self.sample_rate)}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """As fairseq's; its crops are this batch's own."""
        first = samples[0]["id"] if samples else 0
        self._crops = np.random.default_rng([self.seed % 2**64, self.epoch, first, len(samples)])
        return super().collater(samples)

    def crop_to_max_size(self, t: torch.Tensor, target_size: int, dim: int = 0) -> torch.Tensor:
        """A stretch of ``target_size`` at random; fairseq's indexes by a list, which torch is about to refuse."""
        excess = t.size(dim) - target_size
        return t if excess <= 0 else t.narrow(dim, int(self._crops.integers(excess, endpoint=True)), target_size)


def open_clip(clip: Clip) -> Path | io.BytesIO:
    """A clip's path, or what it names in a stored zip as FILE.zip:OFFSET:LENGTH.

    Raises:
        InputError: for what a zip does not hold; OutsideRootError for a file that is not below the manifest's root.
    """
    clip.check_inside()
    archive, position = zip_and_position(clip.path)
    if not position:
        return clip.path
    try:
        offset, length = map(int, position.split(":"))
        stored = io.BytesIO(read_from_stored_zip(archive, offset, length))
    except (OSError, ValueError) as error:
        raise InputError(f"{clip.path} cannot be read: {error}") from None
    stored.name = str(clip.path)
    return stored
