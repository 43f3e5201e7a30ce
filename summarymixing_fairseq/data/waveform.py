"""A wrapper of fairseq's datasets: full precision, replacements for bad clips, and the order of shards."""

from __future__ import annotations

from typing import Any

import numpy as np
from fairseq.data import BaseWrapperDataset, FairseqDataset

from ..system.errors import InputError
from .bad_clips import BadClips
from .manifest import OutsideRootError
from .shards import ShardOrder

# The clip that replaces a bad one has at least this share of its length, if there is such a clip.
MIN_STAND_IN_SHARE = 0.8


class SpeechDataset(BaseWrapperDataset):
    """A dataset of fairseq's with three changes.

    Precision: fairseq's trainer rounds every float32 tensor of a batch to the training precision
    (``Trainer._prepare_sample``), also the waveform: in bfloat16, 8 of a recording's 16 bits are left for the
    filterbank. The trainer does not touch float64, so ``net_input.source`` is in float64. Training in float32
    (``common.amp`` included) needs no such conversion.

    Bad clips: a clip that cannot be read is counted, and replaced by another of about its length, with its labels.

    Order: batches of clips in shards are made anew for each epoch, in its order: the iterator must not shuffle them.

    Args:
        dataset: of fairseq's; bad_clips: counts bad clips.
        in_float64: give the waveform in float64.
        shard_order: of clips in shards.
    """

    def __init__(
        self,
        dataset: FairseqDataset,
        bad_clips: BadClips,
        in_float64: bool = True,
        shard_order: ShardOrder | None = None,
    ):
        super().__init__(dataset)
        self.in_float64 = in_float64
        self.bad_clips = bad_clips
        self.shard_order = shard_order
        self._epoch = 1

    @property
    def can_reuse_epoch_itr_across_epochs(self) -> bool:
        """Whether all epochs have the same batches."""
        return self.shard_order is None and super().can_reuse_epoch_itr_across_epochs

    def set_epoch(self, epoch: int) -> None:
        """Called by fairseq at the start of an epoch."""
        super().set_epoch(epoch)
        self._epoch = epoch

    def __getattr__(self, name: str) -> Any:
        # attributes that fairseq's wrapper does not pass on (skipped_indices, fnames, ...)
        if name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A clip as the wrapped dataset gives it, or another one if it is bad.

        Raises:
            InputError: for one bad clip too many; OutsideRootError for a file outside the manifest's root, however many
                bad clips are tolerated.
        """
        tried = []
        while True:
            try:
                return self.dataset[index]
            except OutsideRootError:
                raise
            except InputError as error:
                self.bad_clips.add(index, str(error))
            tried.append(index)
            index = self._replacement(tried)

    def _replacement(self, tried: list[int]) -> int:
        """A clip of the length of ``tried[0]`` or somewhat shorter, so that no batch exceeds its limit."""
        sizes = np.array(self.sizes)
        limit = sizes[tried[0]]
        sizes[tried] = np.iinfo(np.int64).max
        fitting = np.flatnonzero(sizes <= limit)
        if not len(fitting):
            fitting = np.array([sizes.argmin()])  # the shortest of all is the bad one
        nearest = fitting[sizes[fitting] >= MIN_STAND_IN_SHARE * limit]
        candidates = nearest if len(nearest) else fitting
        # no random numbers: a run that is repeated has the same replacements
        return int(candidates[(tried[0] * 7919 + len(tried)) % len(candidates)])

    def num_tokens_vec(self, indices: np.ndarray) -> np.ndarray:
        """``num_tokens`` of many clips."""
        return self.sizes[indices]

    def batch_by_size(self, indices: Any, **limits: Any) -> Any:
        """fairseq's batching, by the lengths of this dataset; its wrapper would use those of what is wrapped."""

        def batch(indices: Any) -> Any:
            return FairseqDataset.batch_by_size(self, indices, **limits)

        return batch(indices) if self.shard_order is None else self.shard_order.batches(indices, self._epoch, batch)

    def collater(self, samples: list[dict[str, Any]]) -> dict[str, Any]:
        """Batch of the wrapped dataset; if it has a ``source`` (B, num_samples), that is in float64 if asked for.

        ``num_samples`` is added: the clips' lengths without padding, counted here to use the data workers' time. It is
        a list, which fairseq's trainer does not move to a GPU: reading it there would make the host wait.
        """
        batch = self.dataset.collater(samples)
        if batch and "source" in batch["net_input"]:
            source, padding_mask = batch["net_input"]["source"], batch["net_input"].get("padding_mask")
            batch["num_samples"] = (
                [source.size(1)] * source.size(0) if padding_mask is None else (~padding_mask).sum(1).tolist()
            )
            if self.in_float64:
                batch["net_input"]["source"] = source.double()
        return batch
