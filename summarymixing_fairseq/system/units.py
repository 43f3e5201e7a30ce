"""Units that all parts of the package share."""

# Sample rate of every waveform that a model gets.
SAMPLE_RATE_HZ = 16_000
