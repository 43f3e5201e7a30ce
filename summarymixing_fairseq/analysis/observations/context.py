"""``context``: how far around a frame lies what its state depends on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...system.units import SAMPLE_RATE_HZ
from ..kept_states import MEL
from ..measures.context import SHARES, context_of_clip
from ..observed import Observed, mean_of_clips
from .registry import Row, register_measure

NUM_CLIPS = 12


@register_measure("context", "seconds on each side that hold half and 90 % of the squared gradient to the latents")
def context(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """Seconds for each of ``SHARES`` at each place after the latents; means of some clips."""
    after = [place for place in places if place not in (MEL, "latents")]
    rows = list(observed.waves)[:NUM_CLIPS]
    found = [context_of_clip(observed.encoder, observed.waves[row], after, observed.seed + row) for row in rows]
    groups = observed.group_of_clips()
    shift = observed.states.times.shift_samples / SAMPLE_RATE_HZ
    for place in after:
        for number, share in enumerate(SHARES):
            seconds = [of_clip[place][number] * shift for of_clip in found]
            yield Row(place, f"{share:.0%} of the gradient", mean_of_clips(seconds, [groups[row] for row in rows]))
