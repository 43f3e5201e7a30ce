"""``abx``: how often a phone lies nearer to another phone than to the same one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...system.errors import InputError
from ..measures.abx import abx as abx_cells
from ..observed import NO_LABEL, Estimate, Observed
from .registry import Row, register_measure

MOST_SEGMENTS = 3_000
MOST_TRIPLES = 5_000
NUM_REPLICATES = 1_000


@register_measure("abx", "ABX error of phones within and across speakers, DTW and angles", needs=("phones", "speakers"))
def abx(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """Errors within and across speakers at each place; intervals by a bootstrap over the pairs of phones.

    Raises:
        InputError: if the labels have a case of neither.
    """
    states, of = observed.states, observed.clip_labels["speakers"].of
    segments = [
        (phone, of[row], states.starts[row] + first, states.starts[row] + end)
        for row, intervals in enumerate(observed.intervals["phones"])
        for phone, first, end in intervals
    ]
    segments = [segment for segment in segments if segment[1] != NO_LABEL]
    rng = np.random.default_rng(observed.seed)
    if len(segments) > MOST_SEGMENTS:
        segments = [segments[i] for i in np.sort(rng.permutation(len(segments))[:MOST_SEGMENTS])]
    spoken, speakers = (np.array([segment[i] for segment in segments], np.int64) for i in (0, 1))
    for place in places:
        frames = states.frames(place)
        pieces = [frames[start:end] for _, _, start, end in segments]
        rows, refused = [], []
        for number, across in (("ABX within speakers", False), ("ABX across speakers", True)):
            try:
                cells = abx_cells(pieces, spoken, speakers, across, MOST_TRIPLES, observed.seed)
            except InputError as error:  # the labels have no case of it
                refused.append(error)
                rows.append(Row(place, number, Estimate(float("nan"))))
                continue
            errors = cells.by_pair()
            means = errors[rng.integers(len(errors), size=(NUM_REPLICATES, len(errors)))].mean(1)
            low, high = np.percentile(means, (2.5, 97.5))
            rows.append(Row(place, number, Estimate(cells.error(), float(low), float(high))))
        if len(refused) == len(rows):
            raise refused[0]
        yield from rows
