"""When a frame is: frames count from 0, times are seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from ..system.units import SAMPLE_RATE_HZ
from .alignments import Interval


@dataclass(frozen=True)
class FrameTimes:
    """Times of a front end's frames.

    Frame i hears ``window_samples`` from sample ``i * shift_samples`` on, and its time is the middle of these: at 320
    and 1,360 samples 20 i + 42.5 ms. It stands for one shift around that.
    """

    shift_samples: int
    window_samples: int

    @classmethod
    def of(cls, frontend: Any) -> FrameTimes:
        """Those of a front end or an encoder, which knows the ``min_samples`` of so many frames."""
        window = frontend.min_samples(1)
        return cls(frontend.min_samples(2) - window, window)

    def centre(self, frame: float) -> float:
        """Middle of what a frame hears."""
        return round((frame * self.shift_samples + self.window_samples / 2) / SAMPLE_RATE_HZ, 6)

    def timed(self, unit: Interval, seconds: float = math.inf) -> Interval:
        """An interval of frames, its first and the one after its last, as one of seconds, of ``seconds`` at most."""
        start, end = self.centre(unit.start - 0.5), self.centre(unit.end - 0.5)
        return replace(unit, start=start, end=min(end, seconds))

    def described(self) -> dict[str, float]:
        """For the files beside features and units: frame i is at ``first_centre_seconds + i * step_seconds``."""
        return {
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "shift_samples": self.shift_samples,
            "window_samples": self.window_samples,
            "first_centre_seconds": self.centre(0),
            "step_seconds": self.shift_samples / SAMPLE_RATE_HZ,
        }
