"""A split whose clips are kept hidden states instead of waveforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from fairseq.data import BaseWrapperDataset, FairseqDataset

from .cache import StateCache


class CachedStatesDataset(BaseWrapperDataset):
    """The clips of an audio dataset as cached hidden states.

    Names, order and lengths (in samples) are those of the audio, so that batches are the same with and without a cache.
    Batches are always padded. fairseq's ``AddTargetDataset`` and our ``SpeechDataset`` wrap this one.

    Args:
        dataset: of the audio. Its clips must be the same in every epoch: neither random chunks nor cropped.
        cache: its clip i is clip i of the dataset; filled before the first clip is read.
    """

    def __init__(self, dataset: FairseqDataset, cache: StateCache):
        super().__init__(dataset)
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
            ``id`` (B,); ``num_samples`` (B,) of the audio; and ``net_input``: ``states`` (B, S, T, D) float32, zero at
            padding, and ``padding_mask`` (B, T) bool, True = padding, or None if there is no padding.
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
