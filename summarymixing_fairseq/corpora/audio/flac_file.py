"""FLAC files that appear under their final name only when whole."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ...system import files

if TYPE_CHECKING:
    import numpy as np


def existing_num_samples(path: Path, sample_rate_hz: int) -> int:
    """Length of a clip that an earlier run has written, or 0."""
    import soundfile

    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, OSError):
        return 0
    return info.frames if info.samplerate == sample_rate_hz else 0


def write_flac(path: Path, samples: np.ndarray, sample_rate_hz: int) -> None:
    """Write samples of shape (num_samples,) as 16-bit FLAC, under its final name only once complete.

    Raises:
        InputError: if the file cannot be written.
    """
    import soundfile

    # in memory first: an error of the disk would be lost, or printed, in libsndfile's callbacks
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate_hz, format="FLAC", subtype="PCM_16")
    with files.atomic_write(path, "wb") as file:
        file.write(encoded.getvalue())
