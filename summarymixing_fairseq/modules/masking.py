"""Span masks of a padded batch, drawn by fairseq's mask function (wav2vec 2.0, arXiv 2006.11477, section 3.1).

Spans overlap, so that they mask fewer frames than ``mask_prob`` says: 48 % at 0.65. Filled up by single frames, exactly
that share is masked.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
from fairseq.data.data_utils import compute_mask_indices, numpy_seed
from torch import Tensor

from ..system.errors import InputError
from .filterbank import padding_mask_from_lengths

# A masked utterance has at least this many spans, as in fairseq's wav2vec 2.0.
MIN_SPANS = 2
_TAKES_SEED = "seed" in inspect.signature(compute_mask_indices).parameters


def min_maskable_frames(mask_prob: float, mask_length: int) -> int:
    """Number of frames of the shortest utterance that holds its spans and leaves a frame visible to the encoder.

    For some shorter utterances fairseq's mask function fails at random ("the entire sequence is masked").

    Raises:
        InputError: if these settings mask every frame of an utterance of any length.
    """
    num_frames = mask_length + MIN_SPANS + 1
    while num_frames - mask_length <= max(MIN_SPANS, int(mask_prob * num_frames / mask_length + 1)):
        num_frames += 1
        if num_frames > 1000 * mask_length:
            raise InputError(f"mask_prob={mask_prob} with mask_length={mask_length} masks every frame: lower mask_prob")
    return num_frames


def _draw(shape: tuple[int, int], padding: Tensor | None, mask_prob: float, mask_length: int, **options: Any) -> Tensor:
    """fairseq's mask function, seeded from torch's generator. (B, width) bool on the CPU, True = masked.

    fairseq draws from numpy, which its trainer does not seed for each update. It does seed torch, so a resumed run
    draws the same masks.
    """
    seed = int(torch.randint(2**31 - 1, ()))
    draw = partial(compute_mask_indices, shape, padding, mask_prob, mask_length, **options)
    if _TAKES_SEED:
        return torch.from_numpy(draw(seed=seed, epoch=0, indices=torch.arange(shape[0])))
    with numpy_seed(seed):
        return torch.from_numpy(draw())


def draw_mask(
    lengths: list[int],
    width: int,
    mask_prob: float,
    mask_length: int,
    require_same_masks: bool,
    fill: bool = False,
    **options: Any,
) -> Tensor:
    """Draw a span mask for every utterance of a padded batch.

    Args:
        lengths: frames of each utterance; width: frames of the padded batch.
        require_same_masks: mask the same number of frames in every utterance.
        fill: mask ``mask_prob`` of the frames exactly: after the spans, frames that they left visible are drawn one by
            one. Of all frames, or with ``require_same_masks`` of those of the batch's shortest utterance, which then
            says how many spans and frames are masked in the others.
        options: further arguments of ``compute_mask_indices`` (mask_type, mask_other, mask_dropout).

    Returns:
        (B, width) bool on the CPU, True = masked. A padded frame is never masked.
    """
    padding = padding_mask_from_lengths(torch.tensor(lengths), width)
    options = {"min_masks": MIN_SPANS, "require_same_masks": require_same_masks, **options}
    if fill:
        return _draw_filled(lengths, padding, mask_prob, mask_length, **options)
    return _draw((len(lengths), width), padding if bool(padding.any()) else None, mask_prob, mask_length, **options)


def _draw_filled(lengths: list[int], padding: Tensor, mask_prob: float, mask_length: int, **options: Any) -> Tensor:
    """``draw_mask`` with ``fill``. padding: (B, T) bool, True = padding. Returns (B, T) bool, True = masked."""
    counted = [min(lengths)] * len(lengths) if options["require_same_masks"] else lengths  # frames to take the share of
    spans = torch.zeros_like(padding)
    for row, (length, frames) in enumerate(zip(lengths, counted)):
        spans[row, :length] = _draw((1, length), None, mask_prob * frames / length, mask_length, **options)[0]
    num_masked = [min(max(round(mask_prob * frames), MIN_SPANS), frames - 1) for frames in counted]
    # frames in the order they are masked in: those of the spans, then the visible ones, each in a random order
    order = (torch.rand(padding.shape) + (~spans).float() + 2.0 * padding).argsort(1)
    is_masked = ~padding_mask_from_lengths(torch.tensor(num_masked), padding.size(1))
    return torch.zeros_like(padding).scatter_(1, order, is_masked)


def draw_channel_mask(batch_size: int, num_channels: int, mask_prob: float, mask_length: int, **options: Any) -> Tensor:
    """Draw spans of channels to set to zero. Returns (B, num_channels) bool on the CPU, True = zero."""
    # min_masks: fairseq's function fails if it draws no span at all, which happens on a narrow model
    return _draw((batch_size, num_channels), None, mask_prob, mask_length, min_masks=1, **options)
