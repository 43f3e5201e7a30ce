"""Positions of frames as sines and cosines, computed for any length: nothing is stored and nothing runs out."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def position_angles(positions: Tensor, dim: int) -> Tensor:
    """Angles p / 10000^(2i / dim) of positions p (Vaswani et al. 2017, section 3.5).

    Args:
        positions: (N,) float32; dim: even or odd.

    Returns:
        (N, dim / 2), rounded up.
    """
    steps = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float32)
    return positions[:, None] * torch.exp(steps * (-math.log(10_000.0) / dim))


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """Sinusoidal embeddings of positions, which may be negative: (N,) float32 -> (N, dim) float32."""
    angle = position_angles(positions, dim)
    # (N, dim / 2) twice -> (N, dim): sine and cosine interleaved; an odd width drops the last cosine
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :dim]


def sinusoidal_positions(num_frames: int, dim: int, device: torch.device) -> Tensor:
    """Absolute sinusoidal positions of the frames from 0 on: (num_frames, dim) float32."""
    return sinusoids(torch.arange(num_frames, device=device, dtype=torch.float32), dim)
