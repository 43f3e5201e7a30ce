"""Random chunks of clips, new ones in every epoch, to train speaker embeddings on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data.audio import read_segment
from ..data.clips import check_length, open_clip
from ..data.manifest import Clip, Manifest
from ..data.segments import SegmentDataset
from ..system.errors import InputError


class ChunkDataset(SegmentDataset):
    """A random chunk of each clip. Only the chunk is read; a clip that is shorter is read whole.

    Every position is equally likely. It depends only on seed, epoch and clip, so that a run that goes on has the chunks
    it would have had. With ``normalize``, a chunk is normalised by itself.

    Args:
        chunk_seconds: length of a chunk; others: of ``SegmentDataset``, whose seed is also that of the positions.

    Raises:
        InputError: for a chunk shorter than one sample.
    """

    def __init__(
        self, manifest: Manifest, sample_rate: int, num_buckets: int = 0, *, chunk_seconds: float, **others: Any
    ):
        super().__init__(manifest, sample_rate, **others)
        self.chunk_samples = round(chunk_seconds * sample_rate)
        if self.chunk_samples < 1:
            raise InputError(f"task.chunk_seconds={chunk_seconds:g}: a chunk must have at least one sample")
        self.sizes = np.minimum(self.sizes, self.chunk_samples)
        self.set_bucket_info(num_buckets)

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """False: a clip has another chunk in every epoch, so that batches cannot be reused."""
        return False

    def chunk_start(self, index: int) -> int:
        """First sample, within its clip, of this epoch's chunk."""
        return self._start(index, int(self.manifest.sizes[index]))

    def _start(self, index: int, num_samples: int, *again: int) -> int:
        excess = num_samples - self.chunk_samples
        if excess <= 0:
            return 0
        generator = np.random.default_rng([self.seed % 2**64, self.epoch, index, *again])
        return int(generator.integers(excess, endpoint=True))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``id`` and ``source``, (num_samples,) float32, of this epoch's chunk.

        Raises:
            InputError: for a clip that cannot be read or ends before the chunk does.
        """
        clip = self.manifest[index]
        if clip.num_samples <= self.chunk_samples:
            return super().__getitem__(index)
        samples = self._read(clip, index)
        return {"id": index, "source": self.postprocess(torch.from_numpy(samples), self.sample_rate)}

    def _read(self, clip: Clip, index: int) -> np.ndarray:
        start = self.chunk_start(index) + (clip.offset or 0)
        try:
            return read_segment(open_clip(clip), start, self.chunk_samples, sample_rate_hz=self.sample_rate)
        except InputError:
            if clip.offset is not None:
                raise
            # A file of a lossy format may be a little shorter than its manifest says, and one whose rows count at its
            # own rate has fewer samples at 16 kHz: the same files are bad with and without chunks.
            whole = read_segment(open_clip(clip), sample_rate_hz=self.sample_rate)
            check_length(clip, len(whole), self.sample_rate, self.min_samples)
            # drawn anew, so that every position stays equally likely
            return whole[self._start(index, len(whole), 1) :][: self.chunk_samples]
