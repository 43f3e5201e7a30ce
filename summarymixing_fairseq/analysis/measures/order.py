"""What averaging over a clip loses: the order of its words, and where in it something happens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...system.units import SAMPLE_RATE_HZ

TONE_SECONDS, TONE_HZ = 0.2, 1000.0


def words_in_another_order(wave: np.ndarray, starts: Sequence[float], rng: np.random.Generator) -> np.ndarray | None:
    """A clip whose words, each with the pause after it, are spoken in another order.

    Args:
        wave: (num_samples,); starts: of the words, in seconds, ascending.

    Returns:
        (num_samples,); what comes before the first word stays. None for fewer than two words.
    """
    if len(starts) < 2:
        return None
    edges = [round(start * SAMPLE_RATE_HZ) for start in starts]
    words = np.split(wave, edges)
    order = rng.permutation(len(starts))
    while (order == np.arange(len(starts))).all():
        order = rng.permutation(len(starts))
    return np.concatenate([words[0], *(words[1 + i] for i in order)])


def with_tone(wave: np.ndarray, position: float) -> np.ndarray:
    """A clip with a tone of ``TONE_HZ``, as loud as the clip, somewhere in it.

    Args:
        position: of the tone's centre, 0 (begins with the clip) to 1 (ends with it).
    """
    length = min(int(TONE_SECONDS * SAMPLE_RATE_HZ), len(wave))
    start = round(position * (len(wave) - length))
    loudness = np.sqrt(2 * np.mean(np.square(wave, dtype=np.float64)))
    tone = loudness * np.sin(2 * np.pi * TONE_HZ / SAMPLE_RATE_HZ * np.arange(length))
    result = wave.copy()
    result[start : start + length] += (tone * np.hanning(length)).astype(np.float32)
    return result
