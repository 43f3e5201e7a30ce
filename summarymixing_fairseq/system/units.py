"""Units that every part agrees on."""

from __future__ import annotations

# Rate of every waveform that a model hears.
SAMPLE_RATE_HZ = 16_000
