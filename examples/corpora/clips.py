"""Audio files of a corpus that is made: each is made once, and kept by later runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from summarymixing_fairseq.corpora.audio.audio_file import existing_num_samples, write_flac
from summarymixing_fairseq.corpora.writing.rows import Clip


def make_clip(audio_dir: Path, path: str, samples_of: Callable[[], np.ndarray], num_samples: int | None = None) -> Clip:
    """Write the clip AUDIO_DIR/path, 16-bit FLAC at 16 kHz, unless an earlier run has.

    Args:
        samples_of: makes the samples, shape (num_samples,), float in [-1, 1] or int16.
        num_samples: length of the clip if it is known beforehand. A file of another length is written again.

    Raises:
        InputError: if the file cannot be written.
    """
    existing = existing_num_samples(audio_dir / path)
    if existing and num_samples in (None, existing):
        return Clip(path, existing)
    samples = samples_of()
    write_flac(audio_dir / path, samples)
    return Clip(path, len(samples))
