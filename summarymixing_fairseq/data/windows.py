"""Long recordings by overlapping windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .frame_times import FrameTimes

WINDOW_SECONDS = 30.0
OVERLAP_SECONDS = 6.0
# Windows that are computed together.
_BATCH = 4


def by_windows(
    waveform: np.ndarray,
    num_frames: int,
    times: FrameTimes,
    compute: Callable[[Sequence[np.ndarray]], list[np.ndarray]],
) -> np.ndarray:
    """Frames of a recording, each from the window in which it lies furthest from an end.

    Args:
        waveform: (num_samples,), longer than a window; num_frames: T, that one pass would give.
        times: of the frames; compute: from waveforms to (frames, D) of each.

    Returns:
        (T, D).
    """
    frame_rate_hz = 1 / (times.centre(1) - times.centre(0))
    window = min(num_frames, round(WINDOW_SECONDS * frame_rate_hz))
    step = window - round(OVERLAP_SECONDS * frame_rate_hz)
    # the last window ends with the recording, and is whole too
    starts = [*range(0, num_frames - window, step), num_frames - window]
    num_samples = (window - 1) * times.shift_samples + times.window_samples
    parts: list[np.ndarray] = []
    for first in range(0, len(starts), _BATCH):
        begins = [start * times.shift_samples for start in starts[first : first + _BATCH]]
        parts += compute([waveform[begin : begin + num_samples] for begin in begins])
    # two windows meet in the middle of what both have
    cuts = [0, *((before + window + after) // 2 for before, after in zip(starts, starts[1:])), num_frames]
    joined = [part[cut - start : end - start] for part, start, cut, end in zip(parts, starts, cuts, cuts[1:])]
    return np.concatenate(joined)
