"""Reading clips in batches, for commands that run a model over them."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence

import numpy as np
from tqdm import tqdm

from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from . import audio
from .batching import batches_by_length
from .manifest import Clip

# Positions of clips, and their waveforms.
Batches = Generator[tuple[list[int], list[np.ndarray]], None, None]


def read_in_batches(clips: Sequence[Clip], batch_seconds: float) -> Batches:
    """Read clips in batches of similar length, with a progress bar in seconds of audio.

    Args:
        batch_seconds: length of a padded batch at most, unless a single clip is longer.

    Yields:
        positions in ``clips``, and their waveforms, (num_samples,) float32 at 16 kHz.

    Raises:
        InputError: for a clip that cannot be read. Before the first batch if its header is bad, or if links lead out
            of its manifest's root.
    """
    num_samples = [_num_samples(clip) for clip in clips]
    bar = tqdm(total=round(sum(num_samples) / SAMPLE_RATE_HZ), unit="s", desc="audio", mininterval=0.5)
    with bar:
        for batch in batches_by_length(num_samples, int(batch_seconds * SAMPLE_RATE_HZ)):
            yield batch, [_read(clips[i]) for i in batch]
            bar.update(round(sum(num_samples[i] for i in batch) / SAMPLE_RATE_HZ))


def _read(clip: Clip) -> np.ndarray:
    if clip.offset is None:
        return audio.read_segment(clip.path)
    return audio.read_segment(clip.path, clip.offset, clip.num_samples)


def _num_samples(clip: Clip) -> int:
    clip.check_inside()
    if clip.offset is not None:
        return clip.num_samples
    try:
        header = audio.read_header(clip.path)
    except audio.DECODING_ERRORS:
        header = audio.AudioHeader(0, SAMPLE_RATE_HZ)
    if header.num_frames <= 0:
        audio.read_segment(clip.path)  # its error says what is wrong
        raise InputError(f"{clip.path} cannot be read: no audio header")
    return math.ceil(header.num_frames * SAMPLE_RATE_HZ / header.sample_rate_hz)
