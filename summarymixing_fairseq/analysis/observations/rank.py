"""``rank``: how many directions frames spread over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..measures.rank import effective_rank, participation_ratio
from ..measures.similarity import CrossSums
from ..observed import Observed, jackknife
from .registry import Row, register_measure

# Frames that lie 20 ms apart say much the same: so many of them, evenly spaced, are enough.
MOST_FRAMES = 60_000


@register_measure("rank", "directions that frames spread over: RankMe, and participation ratio of the covariance")
def rank(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """RankMe and participation ratio at each place."""
    for place in places:
        parts = []
        for frames, _ in observed.frames_by_group(place, MOST_FRAMES):
            parts.append(CrossSums([frames.size(1)]))
            parts[-1].add(frames)
        yield Row(place, "RankMe", jackknife(parts, lambda sums: effective_rank(sums.gram(0))))
        yield Row(place, "participation ratio", jackknife(parts, lambda sums: participation_ratio(sums.scatter(0, 0))))
