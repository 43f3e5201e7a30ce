"""Log-mel filterbank energies and their per-utterance normalisation (arXiv 2407.13377, section 3.1)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..system.precision import exact_float32
from ..system.units import SAMPLE_RATE_HZ

# Of the paper: windows of 25 ms, 10 ms apart, and filters up to half the sample rate.
WINDOW_SAMPLES, SHIFT_SAMPLES, N_FFT = 400, 160, 400
# Only digital silence has less energy: the quantisation noise of 16-bit audio alone has about 1e-7.
ENERGY_FLOOR = 1e-10
# A CPU transforms this many frames at a time, so that windows and spectra stay in its cache.
CACHED_FRAMES = 512
# On other devices windows are filled up to a multiple of this, so that cuFFT makes few plans.
ROWS_OF_A_PLAN = 4096
# Added to the standard deviation, so that a constant bin (silence, band-limited audio) becomes zero instead of NaN.
STD_FLOOR = 1e-5
# What the running normalisation takes for granted before the first frame: a second of speech at full scale 1, of which
# a bin's log energies lie around -4 and vary by about 4.
PRIOR_FRAMES = 100
PRIOR_MEAN = -4.0
PRIOR_STD = 4.0


def hz_to_mel(frequency_hz: float) -> float:
    """Convert a frequency in Hz to mel (O'Shaughnessy's formula, as in HTK)."""
    return 2595.0 * math.log10(1.0 + frequency_hz / 700.0)


def mel_filters(num_mel_bins: int) -> Tensor:
    """Triangular filters with a peak of 1, whose corners have equal distances on the mel scale.

    Returns:
        (N_FFT // 2 + 1, num_mel_bins), float32.
    """
    edges_mel = torch.linspace(0.0, hz_to_mel(SAMPLE_RATE_HZ / 2), num_mel_bins + 2, dtype=torch.float64)
    edges_hz = 700.0 * (10.0 ** (edges_mel / 2595.0) - 1.0)
    bins_hz = torch.arange(N_FFT // 2 + 1, dtype=torch.float64) * SAMPLE_RATE_HZ / N_FFT
    lower, centre, upper = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - lower) / (centre - lower)
    falling = (upper - bins_hz[:, None]) / (upper - centre)
    return torch.minimum(rising, falling).clamp(min=0.0).float()


def padding_mask_from_lengths(lengths: Tensor, max_length: int) -> Tensor:
    """(B,) numbers of valid frames -> (B, max_length) bool, True = padding."""
    return torch.arange(max_length, device=lengths.device) >= lengths[:, None]


def normalise_per_utterance(features: Tensor, lengths: Tensor) -> Tensor:
    """Normalise each bin of each utterance to zero mean and unit variance over valid frames; padding becomes zero.

    Args:
        features: (B, T, F) float32; padded frames may hold any value, NaN too.
        lengths: (B,) valid frames of each utterance.

    Returns:
        (B, T, F) float32.
    """
    padding = padding_mask_from_lengths(lengths, features.size(1))[..., None]  # (B, T, 1)
    count = lengths.clamp(min=1)[:, None, None]
    mean = features.masked_fill(padding, 0.0).sum(1, keepdim=True) / count
    centred = (features - mean).masked_fill(padding, 0.0)
    std = (centred.square().sum(1, keepdim=True) / count).sqrt()
    return centred / (std + STD_FLOOR)


class Sums(NamedTuple):
    """What a running normalisation remembers of the frames before: of each bin, and in float64.

    Attributes:
        sums, squares: (B, F), of the energies and of their squares.
        num_frames: (), how many frames that were.
    """

    sums: Tensor
    squares: Tensor
    num_frames: Tensor


def running_normalise(features: Tensor, before: Sums | None = None) -> Tensor:
    """Normalise each bin by mean and variance of the frames from the first to this one: no future is needed.

    It begins as if ``PRIOR_FRAMES`` frames of ``PRIOR_MEAN`` and ``PRIOR_STD`` had been heard.

    Args:
        features: (B, T, F) float32; frames after the end of a clip change none before; before: the frames before
            these, of a stream.

    Returns:
        (B, T, F) float32.
    """
    x = features.double()
    sums, squares = x.cumsum(1) + PRIOR_FRAMES * PRIOR_MEAN, x.square().cumsum(1)
    squares = squares + PRIOR_FRAMES * (PRIOR_MEAN**2 + PRIOR_STD**2)
    count = torch.arange(1, x.size(1) + 1, device=x.device, dtype=x.dtype)[:, None] + PRIOR_FRAMES  # (T, 1)
    if before is not None:
        sums, squares = sums + before.sums[:, None], squares + before.squares[:, None]
        count = count + before.num_frames
    mean = sums / count
    variance = squares / count - mean.square()  # above zero: the frames taken for granted vary
    return ((x - mean) / variance.sqrt()).to(features.dtype)


class LogMelFilterbank(nn.Module):
    """Natural log of mel filterbank energies. Always in float32, and without gradient.

    Windows are not centred: frame t covers samples t * shift to t * shift + window. A valid frame therefore lies
    within its own clip, and padding cannot change it.

    Args:
        num_mel_bins: number of filters up to 8 kHz.
    """

    window_samples, shift_samples = WINDOW_SAMPLES, SHIFT_SAMPLES

    def __init__(self, num_mel_bins: int = 80):
        super().__init__()
        self.num_mel_bins = num_mel_bins
        # Not buffers: `model.half()` must not round these, and no checkpoint needs them. Made at the first clip: in a
        # model that is loaded on the meta device they would have no values.
        self._constants: tuple[Tensor, Tensor] | None = None

    def output_lengths(self, num_samples: Tensor) -> Tensor:
        """(B,) samples -> (B,) frames; 0 if a clip is shorter than one window."""
        return ((num_samples - self.window_samples) // self.shift_samples + 1).clamp(min=0)

    def constants(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Window (window_samples,) and filters (N_FFT // 2 + 1, num_mel_bins), float32."""
        if self._constants is None or self._constants[0].device != device:
            window, filters = torch.hamming_window(WINDOW_SAMPLES, periodic=False), mel_filters(self.num_mel_bins)
            self._constants = window.to(device), filters.to(device)
        return self._constants

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the log-mel energies of every window.

        Args:
            waveform: (B, num_samples) at 16 kHz, any floating dtype, full scale = 1; at least one window long.

        Returns:
            (B, T, num_mel_bins) float32, not normalised. Frames after the end of a clip have no meaning.
        """
        with torch.autocast(waveform.device.type, enabled=False):
            # (B, num_samples) -> (B, T, window_samples), a view
            windows = waveform.float().unfold(1, self.window_samples, self.shift_samples)
            if torch.compiler.is_compiling():
                return self._log_energies(windows)
            if waveform.device.type != "cpu":
                return self._by_few_plans(windows)
            num_frames = max(1, CACHED_FRAMES // max(1, windows.size(0)))
            return torch.cat([self._log_energies(part) for part in windows.split(num_frames, 1)], 1)

    def _by_few_plans(self, windows: Tensor) -> Tensor:
        """``_log_energies`` of windows that are filled up to a multiple of ``ROWS_OF_A_PLAN``.

        cuFFT makes a plan, and keeps memory for it, for each number of windows: with clips of any length for nearly
        every batch. (B, T, window_samples) -> (B, T, num_mel_bins).
        """
        B, T, width = windows.shape
        rows = windows.new_zeros(-(-B * T // ROWS_OF_A_PLAN) * ROWS_OF_A_PLAN, width)
        rows[: B * T].view(B, T, width).copy_(windows)
        return self._log_energies(rows)[: B * T].view(B, T, -1)

    def _log_energies(self, windows: Tensor) -> Tensor:
        """(..., window_samples) -> (..., num_mel_bins)."""
        window, filters = self.constants(windows.device)
        spectrum = torch.view_as_real(torch.fft.rfft(windows * window, n=N_FFT))
        power = spectrum.square_().sum(-1)  # (..., N_FFT // 2 + 1, 2) -> (..., N_FFT // 2 + 1)
        with exact_float32():
            return (power @ filters).clamp_(min=ENERGY_FLOOR).log_()
