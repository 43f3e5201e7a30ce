"""The check that an export goes through before it is said to be there: its outputs beside the checkpoint's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from ..modules.mixing.relpos_mhsa import RelativeSelfAttention
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .source import Source

# What a format makes of clips in one padded batch: (T, D) each, or of a recogniser its scores (T, symbols).
Outputs = Callable[[Sequence[np.ndarray]], "list[Tensor]"]
# The same of a recogniser, or the texts of the clips.
Recognised = Callable[[Sequence[np.ndarray]], "Sequence[Tensor | str]"]

# Seconds of a clip.
SHORT, USUAL, MINUTE, LONG = 0.2, 10.0, 60.0, 600.0


def check_clip(seconds: float) -> np.ndarray:
    """Noise in bursts over faint noise, of mean 0 and the same each time: (num_samples,) float32."""
    random = np.random.default_rng(7)
    num_samples = round(seconds * SAMPLE_RATE_HZ)
    loudness = np.abs(np.sin(np.arange(num_samples) * (3.7 * np.pi / SAMPLE_RATE_HZ))) + 0.01
    clip = 0.05 * loudness * random.standard_normal(num_samples)
    return (clip - clip.mean()).astype(np.float32)


def compare(source: Source, outputs: Outputs, tolerance: float, wanted: Outputs | None = None) -> str:
    """Compare clips of 0.2 s, 10 s and 10 minutes alone, and the first two in a batch.

    A mixer that takes no clip that long, and a front end that gives no frame of one that short, are given what they
    take.

    Args:
        outputs: of the export.
        tolerance: largest difference from the checkpoint's, times its largest output of the clip where that is above 1;
            0: equal to the bit.
        wanted: of the checkpoint, where an export gives another form of them.

    Returns:
        What was found, in one line.

    Raises:
        InputError: where outputs differ by more than ``tolerance``, or are of other shapes.
    """
    encoder = source.our_encoder()
    shortest = encoder.min_samples() / SAMPLE_RATE_HZ
    most = source.max_frames()
    longest = LONG if most is None else min(LONG, encoder.min_samples(most) / SAMPLE_RATE_HZ)
    if any(isinstance(module, RelativeSelfAttention) for module in encoder.modules()):
        longest = min(longest, MINUTE)  # its table of T x 2T a head would have 58 GB for ten minutes
    seconds = [max(SHORT, shortest), min(USUAL, longest), longest]
    clips = [check_clip(length) for length in seconds]
    largest = 0.0
    for batch in ([clips[0]], [clips[1]], [clips[2]], clips[:2]):
        for clip, found, ours in zip(batch, outputs(batch), (wanted or source.outputs)(batch)):
            length = f"a clip of {len(clip) / SAMPLE_RATE_HZ:g} s" + (" in a batch" if len(batch) > 1 else "")
            if found.shape != ours.shape:
                raise InputError(f"{length} gives {tuple(found.shape)}, the checkpoint {tuple(ours.shape)}")
            difference = float((found - ours).abs().max())
            allowed = tolerance * max(1.0, float(ours.abs().max()))  # float32 rounds large scores more coarsely
            if not difference <= allowed:  # NaN is none
                raise InputError(f"{length} differs by {difference:.1e} from the checkpoint ({allowed:.1e} is allowed)")
            largest = max(largest, difference)
    lengths = ", ".join(f"{length:g} s" for length in seconds)
    same = "equal to the bit" if largest == 0 else f"largest difference {largest:.1e}"
    return f"checked against the checkpoint on clips of {lengths}, and in a padded batch: {same}"
