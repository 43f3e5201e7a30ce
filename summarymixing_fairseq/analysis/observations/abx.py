"""``abx``: how often a phone lies nearer to another phone than to the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..measures.abx import abx as abx_cells
from ..observed import Estimate, Observed
from .registry import Row, register_measure

MOST_SEGMENTS = 3_000
MOST_TRIPLES = 5_000
NUM_REPLICATES = 1_000


@register_measure("abx", "ABX error of phones within and across speakers, DTW and angles", needs=("phones", "speakers"))
def abx(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """Errors within and across speakers at each place; intervals by a bootstrap over the pairs of phones."""
    states, of = observed.states, observed.clip_labels["speakers"].of
    segments = [
        (phone, of[row], states.starts[row] + first, states.starts[row] + end)
        for row, intervals in enumerate(observed.intervals["phones"])
        for phone, first, end in intervals
    ]
    rng = np.random.default_rng(observed.seed)
    if len(segments) > MOST_SEGMENTS:
        segments = [segments[i] for i in np.sort(rng.permutation(len(segments))[:MOST_SEGMENTS])]
    spoken, speakers = (np.array([segment[i] for segment in segments]) for i in (0, 1))
    for place in places:
        frames = states.frames(place)
        pieces = [frames[start:end] for _, _, start, end in segments]
        for number, across in (("ABX within speakers", False), ("ABX across speakers", True)):
            if across and len(np.unique(speakers)) < 2:
                continue
            cells = abx_cells(pieces, spoken, speakers, across, MOST_TRIPLES, observed.seed)
            errors = cells.by_pair()
            means = errors[rng.integers(len(errors), size=(NUM_REPLICATES, len(errors)))].mean(1)
            low, high = np.percentile(means, (2.5, 97.5))
            yield Row(place, number, Estimate(cells.error(), float(low), float(high)))
