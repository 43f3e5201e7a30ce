"""Probes: small heads on the hidden states of an encoder (MP3S, arXiv 2308.14456)."""
