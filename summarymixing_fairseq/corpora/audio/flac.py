"""FLAC files that we write ourselves."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.files import atomic_write

if TYPE_CHECKING:
    import numpy as np


def existing_num_samples(path: Path, sample_rate_hz: int) -> int:
    """Length in samples of a clip that an earlier run has written; 0 where there is none at this rate."""
    from ...data.audio import DECODING_ERRORS, read_header

    try:
        header = read_header(path)
    except DECODING_ERRORS:
        return 0
    return header.num_frames if header.sample_rate_hz == sample_rate_hz else 0


def write_flac(path: Path, samples: np.ndarray, sample_rate_hz: int) -> None:
    """Write (num_samples,) as 16-bit FLAC. The file has its final name only once it is complete.

    Raises:
        InputError: if the file cannot be written.
    """
    import soundfile

    # encoded in memory: libsndfile's callbacks would lose or print an error of the disk
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, sample_rate_hz, format="FLAC", subtype="PCM_16")
    with atomic_write(path, "wb") as file:
        file.write(encoded.getvalue())
