"""``robustness``: how much of a frame's state stays when the audio is disturbed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from ..kept_states import MEL
from ..measures.robustness import disturbances, similarity
from ..observed import Observed, mean_of_clips
from ..states import evaluating, states_of_wave
from .registry import Row, register_measure


@register_measure("robustness", "mean cosine of states with those of the clip in noise, softer, or in a room")
def robustness(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """One number for each disturbance at each place, means of some clips."""
    places = [place for place in places if place != MEL]
    means = {place: observed.states.frames(place).double().mean(0) for place in places}
    groups = observed.group_of_clips()
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    with evaluating(observed.encoder):
        for row, wave in observed.waves.items():
            clean = states_of_wave(observed.encoder, wave, places)
            for name, heard in disturbances(wave, np.random.default_rng(observed.seed + row)).items():
                for place, states in states_of_wave(observed.encoder, heard, places).items():
                    found[place, name].append(similarity(clean[place].cpu(), states.cpu(), means[place]))
    for (place, name), values in found.items():
        yield Row(place, name, mean_of_clips(values, [groups[row] for row in observed.waves]))
