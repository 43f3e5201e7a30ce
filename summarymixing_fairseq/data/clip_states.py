"""Hidden states of clips, one clip after the other, so that memory holds those of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor

from ..system.errors import InputError, enough_memory
from ..system.finite import is_finite
from ..system.units import SAMPLE_RATE_HZ
from .manifest import Clip
from .reading import read_in_batches


def check_has_frame(clip: Clip, num_samples: int, min_samples: int) -> None:
    """Raises InputError for a clip of fewer samples than one frame hears."""
    if num_samples < min_samples:
        raise InputError(
            f"{clip.path}: {num_samples} samples give no frame (at least {min_samples} are needed); leave it out"
        )


def states_of_clips(
    clips: Sequence[Clip],
    extract_batch: Callable[[list[np.ndarray]], list[Tensor]],
    min_samples: int,
    batch_seconds: float,
) -> Iterator[tuple[int, Tensor]]:
    """Read clips, longest first, and compute their states, with a progress bar in seconds of audio.

    Args:
        extract_batch: from waveforms, (num_samples,) at 16 kHz each, to hidden states of any shape.
        min_samples: length of the shortest clip that gives a frame; batch_seconds: of a padded batch.

    Yields:
        position in ``clips``, and the states of that clip.

    Raises:
        InputError: for a clip that cannot be read, gives no frame, or states that are not finite.
    """
    for positions, waveforms in read_in_batches(clips, batch_seconds):
        for i, waveform in zip(positions, waveforms):
            check_has_frame(clips[i], len(waveform), min_samples)
        seconds = max(map(len, waveforms)) / SAMPLE_RATE_HZ
        with enough_memory(f"{len(waveforms)} clips of up to {seconds:.0f} s: lower --batch-seconds, or cut the clips"):
            found = extract_batch(waveforms)
        for i, states in zip(positions, found):
            if not is_finite(states):
                raise InputError(
                    f"{clips[i].path}: its hidden states are not finite numbers: leave it out if it is the only one, "
                    "try --precision float32, otherwise the checkpoint is broken"
                )
            yield i, states
