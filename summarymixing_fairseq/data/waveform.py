"""Batches of waveforms as fairseq's trainer and batcher should see them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FairseqDataset

from ..system.errors import InputError
from .bad_clips import BadClips
from .manifest import OutsideRootError

# A clip that stands in for a bad one is at least this share of its length, if there is one.
MIN_STAND_IN_SHARE = 0.8


class SpeechDataset(BaseWrapperDataset):
    """A dataset of fairseq's whose waveforms keep their precision and whose clips count at the length they train at.

    Precision: fairseq's trainer rounds every float32 tensor of a batch to the training precision
    (``Trainer._prepare_sample``), the waveform included, before the filterbank hears it: in bfloat16 that leaves 8 bits
    of a 16-bit recording. float64 it leaves alone, so ``net_input.source`` is handed over in that.
    Training in float32 (``common.amp`` included) rounds nothing, and does without the conversion.

    Length: a clip longer than ``max_sample_size`` is cropped to it when its batch is put together, but fairseq counts
    the whole clip against ``dataset.max_tokens`` where clips are padded.

    Bad clips: one that cannot be read is replaced by another of about its length, with that one's labels, and counted.

    Args:
        dataset: of fairseq's; in_float64: hand the waveform over in float64.
        bad_clips: counts them; None: a bad clip raises.
    """

    def __init__(self, dataset: FairseqDataset, in_float64: bool = True, bad_clips: BadClips | None = None):
        super().__init__(dataset)
        self.in_float64 = in_float64
        self.bad_clips = bad_clips

    def __getattr__(self, name: str) -> Any:
        # fairseq asks its audio datasets for more than a wrapper passes on (skipped_indices, fnames, ...).
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A clip as the wrapped dataset gives it, or the one that stands in for it.

        Raises:
            InputError: for a bad clip where none are tolerated; TooManyBadClips where there are too many;
                OutsideRootError for a clip that is not to be read at all.
        """
        tried = []
        while True:
            try:
                return self.dataset[index]
            except OutsideRootError:
                raise
            except InputError as error:
                if self.bad_clips is None:
                    raise
                self.bad_clips.add(index, str(error))
            tried.append(index)
            index = self._stand_in(tried)

    def _stand_in(self, tried: list[int]) -> int:
        """A clip for the first of ``tried``: of its length or somewhat shorter, so that no batch outgrows its limit."""
        sizes = self.sizes
        sizes[tried] = np.iinfo(np.int64).max
        limit = self._cropped(np.asarray(self.dataset.sizes)[tried[0]])
        fitting = np.flatnonzero(sizes <= limit)
        if not len(fitting):
            fitting = np.array([sizes.argmin()])  # the shortest of all is the bad one
        nearest = fitting[sizes[fitting] >= MIN_STAND_IN_SHARE * limit]
        candidates = nearest if len(nearest) else fitting
        # by the clip's own number: the same run meets the same stand-ins
        return int(candidates[(tried[0] * 7919 + len(tried)) % len(candidates)])

    def _cropped(self, num_samples: Any) -> Any:
        dataset = self.dataset
        while not hasattr(dataset, "max_sample_size") and hasattr(dataset, "dataset"):
            dataset = dataset.dataset  # labels and subsets wrap the audio
        return np.minimum(num_samples, getattr(dataset, "max_sample_size", np.iinfo(np.int64).max))

    @property
    def sizes(self) -> np.ndarray:
        """(clips,) samples of each clip as it trains."""
        return self._cropped(np.asarray(self.dataset.sizes))

    def num_tokens(self, index: int) -> int:
        """Samples that a clip counts against ``dataset.max_tokens``."""
        return int(self._cropped(self.dataset.num_tokens(index)))

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """``num_tokens`` of many clips."""
        return self.sizes[indices]

    def batch_by_size(self, indices: Any, **limits: Any) -> Any:
        """fairseq's batching over the lengths of this dataset; a wrapper's own would ask the wrapped one."""
        return FairseqDataset.batch_by_size(self, indices, **limits)

    def size(self, index: int) -> Any:
        """As fairseq's, the number of samples cropped: that number, or with labels (samples, label length)."""
        size = self.dataset.size(index)
        if isinstance(size, tuple):
            return (int(self._cropped(size[0])), *size[1:])
        return int(self._cropped(size))

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Batch of the wrapped dataset, with ``source`` (B, num_samples), if it has one, in float64 if asked for.

        ``num_samples`` (B,) says how long the clips are without padding: counted here, in the data workers.
        """
        batch = self.dataset.collater(samples)
        if batch and "source" in batch["net_input"]:
            source, padding_mask = batch["net_input"]["source"], batch["net_input"].get("padding_mask")
            batch["num_samples"] = (
                torch.full((source.size(0),), source.size(1)) if padding_mask is None else (~padding_mask).sum(1)
            )
        if batch and self.in_float64 and "source" in batch["net_input"]:
            batch["net_input"]["source"] = batch["net_input"]["source"].double()
        return batch
