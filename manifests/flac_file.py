"""FLAC files that appear under their final name only when whole."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

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
    """Write samples of shape (num_samples,) as 16-bit FLAC, under its final name only once complete."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            soundfile.write(stream, samples, sample_rate_hz, format="FLAC", subtype="PCM_16")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)
