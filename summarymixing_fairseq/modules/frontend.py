"""Feature extractor: filterbank and a small CNN; 50 latent frames a second (arXiv 2407.13377, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..system.errors import InputError
from .filterbank import LogMelFilterbank, Sums, normalise_per_utterance, padding_mask_from_lengths, running_normalise

# Filterbank frames in a target: 40 ms as in BEST-RQ (arXiv 2202.01855), or the convolutions' total stride if larger.
STACKED_FRAMES = 4


class Features(NamedTuple):
    """What the front end makes of a padded batch.

    Attributes:
        latents: (B, T, channels), in the dtype of the convolutions. Frames after the end of a clip are finite and have
            no meaning.
        lengths: (B,) int64, valid frames of each clip.
        energies: (B, T0, num_mel_bins) float32 without gradient, normalised; zero after the end of a clip.
        before_norm: (B, T, channels), the latents before their last LayerNorm.
    """

    latents: Tensor
    lengths: Tensor
    energies: Tensor
    before_norm: Tensor


def stacked_frames(windows: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
    """Filterbank frames that stand for latent 0: the first, their number, and how far on those of the next latent lie.

    They lie in the middle of the latent's receptive field: at the default sizes frames 2 t + 1 to 2 t + 4 of latent t.

    Args:
        windows: kernel size and stride of each convolution.
    """
    field, shift = 1, 1
    for kernel_size, stride in windows:
        field += (kernel_size - 1) * shift
        shift *= stride
    num_frames = min(max(STACKED_FRAMES, shift), field)
    return (field - num_frames) // 2, num_frames, shift


def stack_frames(energies: Tensor, windows: Sequence[tuple[int, int]], num_latents: int) -> Tensor:
    """(B, T0, bins) -> (B, T, frames, bins), a view: for each of T latents the frames of ``stacked_frames``."""
    first, num_frames, shift = stacked_frames(windows)
    stacked = energies[:, first:].unfold(1, num_frames, shift)[:, :num_latents]  # (B, T, bins, frames)
    return stacked.transpose(2, 3)


class ConvBlock(nn.Module):
    """Conv1d without bias and without padding, LayerNorm, GELU. Kaiming initialisation.

    As there is no padding, a valid frame never depends on what follows its clip.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int):
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel_size, stride, bias=False)
        nn.init.kaiming_normal_(self.conv.weight)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, in_channels) -> (B, T', out_channels)."""
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)  # (B, T, C) -> (B, C, T) -> (B, T', C')
        return F.gelu(self.norm(x))


class FilterbankFrontend(nn.Module):
    """Waveform to latents: log-mel energies normalised per utterance, strided convolutions, LayerNorm.

    Args:
        filterbank: computes the energies.
        channels: width of the convolutions and of the latents.
        kernel_sizes, strides: one entry per convolution.
        running: whether the energies are normalised by what was heard so far, in place of by the whole clip.
    """

    def __init__(
        self,
        filterbank: LogMelFilterbank,
        channels: int = 512,
        kernel_sizes: Sequence[int] = (3, 3),
        strides: Sequence[int] = (2, 1),
        running: bool = False,
    ):
        super().__init__()
        self.running = running
        self.filterbank = filterbank
        self.windows = list(zip(kernel_sizes, strides))
        in_channels = [filterbank.num_mel_bins] + [channels] * (len(kernel_sizes) - 1)
        self.blocks = nn.ModuleList(ConvBlock(c, channels, k, s) for c, k, s in zip(in_channels, kernel_sizes, strides))
        self.norm = nn.LayerNorm(channels)

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) latent frames; 0 if a clip is too short for one frame."""
        lengths = self.filterbank.output_lengths(num_samples)
        for kernel_size, stride in self.windows:
            lengths = ((lengths - kernel_size) // stride + 1).clamp(min=0)
        return lengths

    def min_samples(self, num_frames: int = 1) -> int:
        """Number of samples of the shortest clip with ``num_frames`` latent frames."""
        for kernel_size, stride in reversed(self.windows):
            num_frames = (num_frames - 1) * stride + kernel_size
        return (num_frames - 1) * self.filterbank.shift_samples + self.filterbank.window_samples

    def forward(self, waveform: Tensor, num_samples: Tensor) -> Features:
        """Compute the latents of a padded batch.

        Args:
            waveform: (B, max_samples), any floating dtype; padding (at the end) may hold any value.
            num_samples: (B,) int64, valid samples of each clip.

        Raises:
            InputError: if even the longest clip is too short for one frame.
        """
        if waveform.size(1) < self.min_samples():
            raise InputError(
                f"clip of {waveform.size(1)} samples gives no frame: {self.min_samples()} samples are the least; "
                "leave shorter clips out (task.min_sample_size, or --min-seconds when making the manifest)"
            )
        energies = self.filterbank(waveform)  # (B, max_samples) -> (B, T0, num_mel_bins)
        lengths = self.filterbank.output_lengths(num_samples)
        if self.running:
            padding = padding_mask_from_lengths(lengths, energies.size(1))
            energies = running_normalise(energies).masked_fill(padding[..., None], 0.0)
        else:
            energies = normalise_per_utterance(energies, lengths)
        x = self._convolved(energies)
        return Features(self.norm(x), self.output_lengths(num_samples), energies, x)

    def _convolved(self, energies: Tensor) -> Tensor:
        """(B, T0, num_mel_bins) -> (B, T, channels)."""
        x = energies.to(self.norm.weight.dtype)
        for block in self.blocks:
            x = block(x)
        return x

    @property
    def energies_per_latent(self) -> int:
        """Frames of the filterbank from one latent to the next."""
        return math.prod(stride for _, stride in self.windows)

    def first_state(self, batch: int) -> list[Tensor]:
        """What is remembered before the first frame: sums of the energies and of their squares, (B, bins) float64."""
        bins = self.filterbank.num_mel_bins
        return [self.norm.weight.new_zeros((batch, bins), dtype=torch.float64) for _ in range(2)]

    def step(self, waveform: Tensor, state: list[Tensor], heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The latents that come next, of a front end with ``running``.

        Args:
            waveform: (B, num_samples) that these T latents hear, ``min_samples(T)``: it overlaps with the one before.
            state: of the step before, or ``first_state``; heard: (), the latents before these.

        Returns:
            (B, T, channels), and the state for the next step.
        """
        energies = self.filterbank(waveform)
        before = Sums(state[0], state[1], heard * self.energies_per_latent)
        latents = self.norm(self._convolved(running_normalise(energies, before)))
        # those that the next step does not hear once more
        passed = energies[:, : latents.size(1) * self.energies_per_latent].double()
        return latents, [state[0] + passed.sum(1), state[1] + passed.square().sum(1)]
