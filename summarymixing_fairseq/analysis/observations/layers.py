"""``layers``: how alike two places are, of one encoder or of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from ..measures.similarity import CrossSums, linear_cka
from ..observed import Observed, jackknife
from .registry import Row, register_measure

MOST_FRAMES = 20_000


@register_measure("layers", "CKA between places, of one encoder and between encoders")
def layers(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """CKA of each pair of places."""
    for place, other in combinations(places, 2):
        yield _row(observed, place, observed, other)


def between(one: Observed, other: Observed, places: Sequence[str], other_places: Sequence[str]) -> Iterator[Row]:
    """CKA of each place of one encoder with each of another's, on the same frames."""
    for place in places:
        for other_place in other_places:
            yield _row(one, place, other, other_place)


def _row(one: Observed, place: str, other: Observed, other_place: str) -> Row:
    parts = []
    pairs = zip(one.frames_by_group(place, MOST_FRAMES), other.frames_by_group(other_place, MOST_FRAMES))
    for (frames, _), (others, _) in pairs:
        parts.append(CrossSums([frames.size(1), others.size(1)]))
        parts[-1].add(frames, others)
    return Row(place, "CKA", jackknife(parts, linear_cka), other_place)
