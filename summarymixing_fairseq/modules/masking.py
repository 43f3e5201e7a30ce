"""Span masks for a padded batch, drawn by fairseq's own mask function (wav2vec 2.0, arXiv 2006.11477, section 3.1)."""

from __future__ import annotations

import inspect

import torch
from fairseq.data.data_utils import compute_mask_indices, numpy_seed
from torch import Tensor

# A masked utterance has at least this many spans, as in fairseq's wav2vec 2.0.
MIN_SPANS = 2
_TAKES_SEED = "seed" in inspect.signature(compute_mask_indices).parameters


def min_maskable_frames(mask_prob: float, mask_length: int) -> int:
    """Frames of the shortest utterance that can hold its spans and still show a frame to the encoder.

    fairseq's mask function gives up ("the entire sequence is masked") on some shorter ones, by chance.
    """
    num_frames = mask_length + MIN_SPANS + 1
    while num_frames - mask_length <= max(MIN_SPANS, int(mask_prob * num_frames / mask_length + 1)):
        num_frames += 1
        if num_frames > 1000 * mask_length:
            raise ValueError(f"mask_prob={mask_prob} with mask_length={mask_length} masks every frame: lower mask_prob")
    return num_frames


def draw_mask(
    lengths: list[int], width: int, mask_prob: float, mask_length: int, require_same_masks: bool, **options
) -> Tensor:
    """Draw a span mask for every utterance of a padded batch.

    fairseq draws from numpy, which its trainer does not seed from update to update; here the seed comes from torch's
    generator, which it does, so that a resumed run masks the same frames.

    Args:
        lengths: frames of each utterance; width: frames of the padded batch.
        require_same_masks: mask the same number of frames in every utterance.
        options: further arguments of ``compute_mask_indices`` (mask_type, mask_other, no_overlap, min_space, ...).

    Returns:
        (B, width) bool on the CPU, True = masked; never a padded frame.
    """
    seed = int(torch.randint(2**31 - 1, ()))
    seeded = {"seed": seed, "epoch": 0, "indices": torch.arange(len(lengths))} if _TAKES_SEED else {}
    padding = torch.arange(width) >= torch.tensor(lengths)[:, None]
    with numpy_seed(seed):
        mask = compute_mask_indices(
            (len(lengths), width),
            padding if bool(padding.any()) else None,
            mask_prob,
            mask_length,
            min_masks=MIN_SPANS,
            require_same_masks=require_same_masks,
            **options,
            **seeded,
        )
    return torch.from_numpy(mask)


def draw_channel_mask(batch_size: int, num_channels: int, mask_prob: float, mask_length: int, **options) -> Tensor:
    """Draw spans of channels to zero. Returns (B, num_channels) bool on the CPU, True = zeroed.

    Raises:
        ValueError: for spans that could cover every channel.
    """
    if num_channels < min_maskable_frames(mask_prob, mask_length):
        raise ValueError(f"mask_channel_length={mask_length}: spans this long can zero all {num_channels} channels")
    seed = int(torch.randint(2**31 - 1, ()))
    seeded = {"seed": seed, "epoch": 0, "indices": torch.arange(batch_size)} if _TAKES_SEED else {}
    with numpy_seed(seed):
        # min_masks: the function fails where it draws no span at all, as it may on a narrow model
        mask = compute_mask_indices(
            (batch_size, num_channels), None, mask_prob, mask_length, min_masks=1, **options, **seeded
        )
    return torch.from_numpy(mask)
