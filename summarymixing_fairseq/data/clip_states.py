"""Hidden states of clips, one clip after the other, so that memory holds those of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..system.errors import InputError, enough_memory
from ..system.finite import is_finite, tensors_in
from ..system.units import SAMPLE_RATE_HZ
from .manifest import Clip
from .reading import read_in_batches


def states_of_clips(
    clips: Sequence[Clip],
    extract_batch: Callable[[list[np.ndarray]], list[Any]],
    min_samples: int,
    batch_seconds: float,
) -> Iterator[tuple[int, Any]]:
    """Read clips, longest first, and compute their states, with a progress bar in seconds of audio.

    Args:
        extract_batch: from waveforms, (num_samples,) at 16 kHz each, to hidden states of any shape, or several by name.
        min_samples: of the shortest clip that gives a frame, or that a head takes; batch_seconds: of a padded batch.

    Yields:
        position in ``clips``, and the states of that clip.

    Raises:
        InputError: for a clip that cannot be read, is too short, or states that are not finite.
    """
    for positions, waveforms in read_in_batches(clips, batch_seconds, min_samples=min_samples):
        seconds = max(map(len, waveforms)) / SAMPLE_RATE_HZ
        with enough_memory(f"{len(waveforms)} clips of up to {seconds:.0f} s: lower --batch-seconds, or cut the clips"):
            found = extract_batch(waveforms)
        for i, states in zip(positions, found):
            if not all(map(is_finite, tensors_in(states))):
                raise InputError(
                    f"{clips[i].path}: its states are not finite numbers: leave it out if it is the only one, "
                    "try --precision float32, otherwise the checkpoint is broken"
                )
            yield i, states
