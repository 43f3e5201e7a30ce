"""A split whose clips are hidden states from a cache in place of waveforms."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FairseqDataset

from ...system.errors import InputError
from .cache import StateCache


class CachedStatesDataset(BaseWrapperDataset):
    """The clips of an audio dataset as cached hidden states.

    Lengths, order and names are the audio's, lengths in samples, so that batches are the same with and without a
    cache. They are always padded. Stands under fairseq's ``AddTargetDataset`` and our ``SpeechDataset``.

    Args:
        dataset: of the audio, whose clip i is the cache's clip i; cache: filled.

    Raises:
        InputError: if clips differ from epoch to epoch: random chunks, or crops by ``max_sample_size``.
        ValueError: if the two have unequal numbers of clips.
    """

    def __init__(self, dataset: FairseqDataset, cache: StateCache):
        super().__init__(dataset)
        if len(dataset) != len(cache):
            raise ValueError(f"{len(dataset)} clips, and {len(cache)} in the cache")
        if not dataset.can_reuse_epoch_itr_across_epochs:
            raise InputError("clips that differ from epoch to epoch cannot be cached: set task.cache=false")
        max_sample_size = getattr(dataset, "max_sample_size", None) or sys.maxsize
        if np.max(dataset.sizes, initial=0) > max_sample_size:
            raise InputError(
                f"task.max_sample_size={max_sample_size} crops clips at random, which cannot be cached: "
                "take it out, or set task.cache=false"
            )
        self.cache = cache

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
            ``id`` (B,) and ``net_input``: ``states`` (B, S, T, D) float32, zero where padded, and ``padding_mask``
            (B, T) bool, True = padding, or None where nothing is.
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
        return {
            "id": torch.tensor([sample["id"] for sample in samples]),
            "net_input": {"states": states, "padding_mask": padding_mask if padding_mask.any() else None},
        }
