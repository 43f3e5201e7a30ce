"""``order``: what the mean of a clip's frames keeps of the order of its words, and of where something happens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...system.units import SAMPLE_RATE_HZ
from ..kept_states import MEL
from ..measures.order import with_tone, words_in_another_order
from ..measures.regression import explained_by_group, share_explained
from ..measures.robustness import similarity
from ..observed import Observed, jackknife, mean_of_clips
from ..states import evaluating, states_of_wave
from .registry import Row, register_measure

TONES_A_CLIP = 4


@register_measure("order", "what the mean of a clip's frames keeps of its words' order, and of where a tone is")
def order(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """``tone``: R^2 of the position of a tone that was mixed into a clip, by what it changes of the clip's mean.
    ``words``, where words have times: cosine of a clip's mean with that of the same words in another order, both around
    the mean of all."""
    places = [place for place in places if place != MEL]
    rng = np.random.default_rng(observed.seed)
    groups = np.repeat(np.array(observed.group_of_clips())[list(observed.waves)], TONES_A_CLIP)
    positions = rng.uniform(size=len(groups))
    waves = [wave for wave in observed.waves.values() for _ in range(TONES_A_CLIP)]
    with_tones = _means(observed, [with_tone(wave, at) for wave, at in zip(waves, positions)], places)
    without = _means(observed, list(observed.waves.values()), places)
    rows, originals, reordered = [], [], []
    for row, wave in observed.waves.items():
        other = words_in_another_order(wave, _word_starts(observed, row), rng)
        if other is not None:
            rows.append(row)
            originals.append(wave)
            reordered.append(other)
    before, after = _means(observed, originals, places), _means(observed, reordered, places)
    for place in places:
        changes = torch.stack(with_tones[place]) - torch.stack(without[place]).repeat_interleave(TONES_A_CLIP, 0)
        if len(np.unique(groups)) > 1:
            parts = explained_by_group(changes.numpy(), positions, groups)
            yield Row(place, "tone", jackknife(parts, share_explained))
        centre = observed.states.frames(place).double().mean(0)
        cosines = [similarity(one[None], two[None], centre) for one, two in zip(before[place], after[place])]
        if cosines:
            yield Row(place, "words", mean_of_clips(cosines, [observed.group_of_clips()[row] for row in rows]))


def _word_starts(observed: Observed, row: int) -> list[float]:
    """Seconds at which the words of a clip begin, to half a frame (to half a window where one
    begins before the first frame's centre); those that the wave has."""
    times = observed.states.times
    before = (times.window_samples - times.shift_samples) / 2  # from a frame's first sample to where it counts from
    words = observed.intervals["words"][row] if "words" in observed.intervals else []
    samples = [first * times.shift_samples + before for _, first, _ in words]
    return [sample / SAMPLE_RATE_HZ for sample in samples if sample < len(observed.waves[row])]


def _means(observed: Observed, waves: Sequence[np.ndarray], places: Sequence[str]) -> dict[str, list[Tensor]]:
    """By place the mean (width,) float64 of each clip's frames."""
    found: dict[str, list[Tensor]] = {place: [] for place in places}
    with evaluating(observed.encoder):
        for wave in waves:
            for place, states in states_of_wave(observed.encoder, wave, places).items():
                found[place].append(states.double().mean(0).cpu())
    return found
