"""``temporal``: how straight the states' path through a clip is, and how many directions it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..measures.temporal import curvature, matrix_entropy
from ..observed import Observed, mean_of_clips
from .registry import Row, register_measure

MOST_CLIPS = 60


@register_measure("temporal", "curvature of the path of a clip's states, in radians, and their matrix entropy")
def temporal(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """``curvature`` and ``entropy`` at each place, means of clips of all lengths."""
    states = observed.states
    num_clips = len(states.order)
    rows = range(0, num_clips, max(1, num_clips // MOST_CLIPS))  # they are in the order of their lengths
    groups = [observed.group_of_clips()[row] for row in rows]
    for place in places:
        clips = [states.frames(place, slice(states.starts[row], states.starts[row + 1])) for row in rows]
        yield Row(place, "curvature", mean_of_clips([curvature(clip) for clip in clips], groups))
        yield Row(place, "entropy", mean_of_clips([matrix_entropy(clip) for clip in clips], groups))
