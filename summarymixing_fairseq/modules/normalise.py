"""Waveforms to mean 0 and variance 1, for models that were trained so (``task.normalize``)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

NORM_EPS = 1e-5  # torch's layer_norm, by which fairseq normalises a waveform


def normalise_waveform(source: Tensor, padding_mask: Tensor | None) -> Tensor:
    """Each clip to mean 0 and variance 1 over its own valid samples, as fairseq's datasets do (``F.layer_norm``).

    Args:
        source: (B, num_samples), zero at padding; padding_mask: (B, num_samples) bool, True = padding, or None.

    Returns:
        (B, num_samples) float32, zero at padding.
    """
    source = source.float()
    if padding_mask is None:
        return nn.functional.layer_norm(source, source.shape[1:], eps=NORM_EPS)
    num_samples = (~padding_mask).sum(1, keepdim=True)
    mean = source.sum(1, keepdim=True) / num_samples
    centred = (source - mean).masked_fill(padding_mask, 0.0)
    variance = centred.square().sum(1, keepdim=True) / num_samples
    return centred * torch.rsqrt(variance + NORM_EPS)
