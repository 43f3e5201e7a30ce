"""How much of a frame's state stays the same when the audio is disturbed: noise, gain, reverberation."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ...system.units import SAMPLE_RATE_HZ

GAIN_DB = -12.0
NOISE_SNR_DB = (20.0, 10.0, 0.0)
REVERBERATION_SECONDS = 0.4  # in which the sound falls by 60 dB


def disturbances(wave: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The same clip in other conditions, by name: (num_samples,) float32 each."""
    found = {f"gain {GAIN_DB:g} dB": wave * np.float32(10 ** (GAIN_DB / 20))}
    for snr in NOISE_SNR_DB:
        found[f"noise {snr:g} dB"] = with_noise(wave, snr, rng)
    found[f"reverberation {REVERBERATION_SECONDS:g} s"] = with_reverberation(wave, REVERBERATION_SECONDS, rng)
    return found


def with_noise(wave: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """White noise added whose power is that of the clip less ``snr_db``."""
    noise = rng.standard_normal(len(wave))
    scale = np.sqrt(np.square(wave, dtype=np.float64).sum() / np.square(noise).sum() / 10 ** (snr_db / 10))
    return (wave + scale * noise).astype(np.float32)


def with_reverberation(wave: np.ndarray, seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Convolution with the direct sound and noise that decays by 60 dB in ``seconds``, as strong as it; same length
    and power."""
    from scipy.signal import fftconvolve  # takes a second

    length = int(seconds * SAMPLE_RATE_HZ)
    decay = 10 ** (-3 * np.arange(length) / length)
    tail = rng.standard_normal(length) * decay
    response = tail / np.sqrt(np.square(tail).sum())
    response[0] += 1.0
    heard = fftconvolve(wave, response)[: len(wave)]
    power = np.square(heard).sum()
    return (heard * np.sqrt(np.square(wave, dtype=np.float64).sum() / power) if power else heard).astype(np.float32)


def similarity(clean: Tensor, disturbed: Tensor, mean: Tensor) -> float:
    """Mean cosine of a clip's states with those of the disturbed clip, both around a mean.

    Args:
        clean, disturbed: (T, D); mean: (D,) of the clean states of all clips, so that what all frames share counts
            for nothing.

    Returns:
        1 where nothing has changed, 0 where the states have nothing to do with each other; nan if a number is not
        finite.
    """
    one, other = clean.double() - mean, disturbed.double() - mean
    return float(((one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))).mean())
