"""fairseq's dataset of audio files, extended: rows may be parts of longer files, and files may have any rate."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data.audio.raw_audio_dataset import FileAudioDataset, RawAudioDataset

from .archives import read_ahead
from .audio import read_segment
from .clips import check_length, open_clip
from .manifest import Manifest, archive_and_position
from .shards import shard_numbers


class _Names:
    """Paths of a manifest's rows, as a sequence that some of fairseq's tools read."""

    def __init__(self, manifest: Manifest):
        self._manifest = manifest

    def __len__(self) -> int:
        return len(self._manifest)

    def __getitem__(self, index: int) -> str:
        return self._manifest.name(index)


class SegmentDataset(FileAudioDataset):
    """fairseq's ``FileAudioDataset`` with eight differences.

    1. A row may be a part of a file: only that part is read.
    2. Files at another rate than the task's are resampled, and several channels are averaged.
    3. Paths are not kept as Python strings (see ``Manifest``).
    4. A clip that cannot be read raises InputError at once; fairseq tries three times.
    5. How a long clip is cropped depends on seed, epoch and batch only. fairseq draws from numpy's generator, whose
       state a resumed run does not restore.
    6. A clip counts at its cropped length; in fairseq, the whole clip counts where clips are padded.
    7. Clips may be ordered by rising length.
    8. Clips may lie in shards (see ``shards``), which are read ahead.

    Args:
        manifest: rows to read, as loaded with fairseq's ``min_sample_size``.
        sample_rate: of the waveforms, in Hz; seed: of the crops.
        min_samples: that the model needs of a clip, as all rows promise.
        num_buckets: as in ``FileAudioDataset``; others: of ``RawAudioDataset``.
        ascending: order clips by rising length, equal ones as in the manifest; fairseq's order falls.
    """

    def __init__(
        self,
        manifest: Manifest,
        sample_rate: int,
        num_buckets: int = 0,
        *,
        seed: int = 1,
        ascending: bool = False,
        min_samples: int = 0,
        **others: Any,
    ):
        RawAudioDataset.__init__(self, sample_rate, **others)  # FileAudioDataset's own would read the file again
        self.min_samples = min_samples
        self.manifest = manifest
        self.root_dir = manifest.root
        self.fnames = _Names(manifest)
        self.skipped_indices = manifest.skipped
        crops = others.get("max_sample_size") is not None
        self.sizes = np.minimum(manifest.sizes, self.max_sample_size) if crops else manifest.sizes
        self.shards = shard_numbers(manifest)
        self.set_bucket_info(num_buckets)
        self.seed = seed
        self.ascending = ascending
        # in shared memory: data workers keep their copy of the dataset from epoch to epoch
        self._epoch = torch.ones((), dtype=torch.int64).share_memory_()
        self._crops = np.random.default_rng(seed % 2**64)

    @property
    def epoch(self) -> int:
        """The current epoch, counted from 1."""
        return int(self._epoch)

    def ordered_indices(self) -> np.ndarray:
        """(clips,) rows in the order in which batches are filled."""
        return np.argsort(self.sizes, kind="stable") if self.ascending else super().ordered_indices()

    def set_epoch(self, epoch: int) -> None:
        """Called by fairseq at the start of an epoch."""
        super().set_epoch(epoch)
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``id`` and ``source``, (num_samples,) float32, normalised if the task asks for it.

        Raises:
            InputError: for a clip that cannot be read, is shorter than its row says, or, by as much as is tolerated
                there, too short for the model; OutsideRootError for a file outside the manifest's root.
        """
        clip = self.manifest[index]
        samples = read_segment(open_clip(clip), *clip.part, sample_rate_hz=self.sample_rate)
        check_length(clip, len(samples), self.sample_rate, self.min_samples)
        if self.shards is not None:
            read_ahead(archive_and_position(clip.path)[0], self.epoch)
        return {"id": index, "source": self.postprocess(torch.from_numpy(samples), self.sample_rate)}

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """fairseq's batch; the crops are drawn from a generator of this batch."""
        first = samples[0]["id"] if samples else 0
        self._crops = np.random.default_rng([self.seed % 2**64, self.epoch, first, len(samples)])
        return super().collater(samples)

    def crop_to_max_size(self, t: torch.Tensor, target_size: int, dim: int = 0) -> torch.Tensor:
        """A random stretch of ``target_size``. fairseq's version indexes by a list, which torch deprecates."""
        excess = t.size(dim) - target_size
        return t if excess <= 0 else t.narrow(dim, int(self._crops.integers(excess, endpoint=True)), target_size)
