"""Padded batches of clips of similar length."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..system.units import SAMPLE_RATE_HZ


def batches_by_length(num_samples: Sequence[int], max_samples: int) -> list[list[int]]:
    """Group clips of similar length so that a padded batch has at most ``max_samples`` samples, or a single clip.

    Returns:
        Positions of the clips of each batch, longest first: if memory runs out, it does so at once.
    """
    order = sorted(range(len(num_samples)), key=lambda i: (-num_samples[i], i))
    batches: list[list[int]] = []
    for i in order:
        # the first clip of a batch is its longest: with i, the batch would have (len + 1) rows of that length
        if batches and (len(batches[-1]) + 1) * num_samples[batches[-1][0]] <= max_samples:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def pad_batch(waveforms: Sequence[np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Waveforms of any lengths -> source (B, num_samples) float32 and padding mask (B, num_samples), True = padding."""
    lengths = torch.tensor([len(w) for w in waveforms])
    source = torch.zeros(len(waveforms), int(lengths.max()))
    for row, waveform in zip(source, waveforms):
        row[: len(waveform)] = torch.from_numpy(np.ascontiguousarray(waveform))
    padding_mask = torch.arange(source.size(1)) >= lengths[:, None]
    return source.to(device), padding_mask.to(device)


def seconds_up(num_samples: int) -> float:
    """Samples at 16 kHz as seconds, rounded up to hundredths: clips of that length are long enough."""
    return math.ceil(num_samples * 100 / SAMPLE_RATE_HZ) / 100
