"""``temporal``: how straight the states' path through a clip is, and how many directions it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..measures.temporal import curvature, matrix_entropy
from ..observed import Observed, mean_of_clips
from .registry import Row, register_measure


@register_measure("temporal", "curvature of the path of a clip's states, in radians, and their matrix entropy")
def temporal(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """``curvature`` and ``entropy`` at each place, means of the clips."""
    states = observed.states
    groups = observed.group_of_clips()
    for place in places:
        clips = states.frames(place).split(states.index.num_frames)
        yield Row(place, "curvature", mean_of_clips([curvature(clip) for clip in clips], groups))
        yield Row(place, "entropy", mean_of_clips([matrix_entropy(clip) for clip in clips], groups))
