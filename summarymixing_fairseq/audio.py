"""Reading a clip: mono float32 at the model's sample rate, or an error that names the file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from .errors import InputError

SAMPLE_RATE_HZ = 16_000


def read_audio(path: Path) -> np.ndarray:
    """Read an audio file that libsndfile knows (flac, wav, ogg, opus, mp3), channels averaged.

    Returns:
        (num_samples,) float32, full scale = 1.

    Raises:
        InputError: for a file that is missing, unreadable, empty, not finite, or not at 16 kHz.
    """
    import soundfile

    try:
        samples, sample_rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.SoundFileError) as error:
        if path.is_dir():
            raise InputError(f"{path} is a folder: name its files, or make a manifest and use --data") from None
        reason = "no such file" if not path.exists() else str(error).rstrip(".").split(": ")[-1]
        if path.exists() and not os.access(path, os.R_OK):
            reason = "permission denied"
        raise InputError(f"{path} cannot be read: {reason}") from None
    if sample_rate_hz != SAMPLE_RATE_HZ:
        raise InputError(f"{path} is at {sample_rate_hz} Hz, the model at {SAMPLE_RATE_HZ}: resample it first")
    if not len(samples):
        raise InputError(f"{path} holds no samples")
    if not np.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are not finite numbers: leave it out")
    return samples.mean(1)
