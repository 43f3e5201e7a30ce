"""Reading a clip or a part of one: mono float32 at the rate asked for, or an error that names the file."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import InputError

SAMPLE_RATE_HZ = 16_000
# Audio on either side of a part, in seconds, that the resampling filter hears and that is then thrown away.
_CONTEXT_SECONDS = 0.1
# libsndfile's seek is off, or not what decoding up to there gives, in these (vorbis near its end most of all, mp3 for
# want of earlier frames' bits): they are decoded from their start, at 300 to 2,000 times real time.
_INEXACT_FORMATS = ("OGG", "MP3", "MPEG")
_SKIP_FRAMES = 2**20
# A whole file may be this much shorter than its header says: encoders of lossy formats are not exact.
_TOLERANCE_SECONDS = 0.1


def read_segment(
    path: Path | BinaryIO,
    offset: int = 0,
    num_samples: int | None = None,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> np.ndarray:
    """Read a file that libsndfile knows, or a part: flac and wav seek to it, ogg, opus and mp3 are decoded up to it.

    Args:
        path: of the file, or an open one.
        offset, num_samples: of the part, counted at ``sample_rate_hz`` whatever the file's own rate; None: to the end.
        sample_rate_hz: rate of what is returned.

    Returns:
        (num_samples,) float32, channels averaged, full scale = 1.

    Raises:
        InputError: for a file that is missing, unreadable, empty or not finite, or that ends before the part does.
    """
    import soundfile

    name = path if isinstance(path, (str, os.PathLike)) else getattr(path, "name", "audio data")
    try:
        with soundfile.SoundFile(path) as file:
            if file.samplerate == sample_rate_hz:
                samples = _read_frames(file, offset, num_samples)
            else:
                samples = _read_resampled(file, offset, num_samples, sample_rate_hz)
            promised = math.ceil(file.frames * sample_rate_hz / file.samplerate) - offset
    except (OSError, RuntimeError) as error:  # libsndfile's own errors are RuntimeErrors
        raise InputError(f"{name} cannot be read: {_reason(name, error)}") from None
    if not len(samples):
        raise InputError(f"{name} holds no samples")
    if num_samples is not None and len(samples) < num_samples:
        raise InputError(
            f"{name} ends {num_samples - len(samples)} samples before the part at {offset} of {num_samples} does: "
            "is it truncated?"
        )
    if num_samples is None and len(samples) < promised - _TOLERANCE_SECONDS * sample_rate_hz:
        raise InputError(f"{name} breaks off after {len(samples)} of {promised} samples: it is truncated or broken")
    # the sum is a third of the time, and finite where all samples are, but for absurd levels
    if not np.isfinite(samples.sum()) and not np.isfinite(samples).all():
        raise InputError(f"{name} holds samples that are not finite numbers: leave it out")
    return samples


def _read_frames(file, offset: int, num_frames: int | None) -> np.ndarray:
    """(frames,) from a frame of the file on; fewer or none where it ends before."""
    if offset:
        if offset >= file.frames:
            return np.zeros(0, np.float32)
        _skip(file, offset)
    samples = file.read(-1 if num_frames is None else num_frames, dtype="float32", always_2d=True)
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(1)


def _skip(file, num_frames: int) -> None:
    """Go to a frame of a file just opened, to the sample."""
    if file.format not in _INEXACT_FORMATS:
        file.seek(num_frames)
        return
    for start in range(0, num_frames, _SKIP_FRAMES):
        file.read(min(_SKIP_FRAMES, num_frames - start), dtype="float32")


def _read_resampled(file, offset: int, num_samples: int | None, sample_rate_hz: int) -> np.ndarray:
    """(num_samples,) of the file as it would be at another rate.

    A part is read with some context from a frame that falls on a sample of the new rate, so that it is what the
    whole file, resampled at once, would have there.
    """
    import soxr

    divisor = math.gcd(file.samplerate, sample_rate_hz)
    frames_per_step, samples_per_step = file.samplerate // divisor, sample_rate_hz // divisor
    context = math.ceil(_CONTEXT_SECONDS * sample_rate_hz)
    first_step = max(0, offset - context) // samples_per_step
    num_frames = None
    if num_samples is not None:
        last_sample = offset + num_samples + context
        num_frames = math.ceil(last_sample / samples_per_step) * frames_per_step - first_step * frames_per_step
    frames = _read_frames(file, first_step * frames_per_step, num_frames)
    if not len(frames):
        return frames
    # samples that begin before the file ends; what soxr gives is at most a sample off
    length = math.ceil(len(frames) * samples_per_step / frames_per_step)
    resampled = soxr.resample(frames, file.samplerate, sample_rate_hz)[:length]
    resampled = np.pad(resampled, (0, length - len(resampled)))
    start = offset - first_step * samples_per_step
    return resampled[start : None if num_samples is None else start + num_samples]


def _reason(name: object, error: Exception) -> str:
    if not isinstance(name, (str, os.PathLike)):
        return str(error)
    if os.path.isdir(name):
        return "it is a folder: name its files, or make a manifest and use --data"
    if not os.path.exists(name):
        return "no such file"
    if not os.access(name, os.R_OK):
        return "permission denied"
    return str(error).rstrip(".").split(": ")[-1]
