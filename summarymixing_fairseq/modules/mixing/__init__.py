"""Token mixers: one a file, behind one interface and one registry.

A mixer is a module of (B, T, D), bool padding mask (B, T; True = padding) or None -> (B, T, D). A padded frame never
changes a valid one; what comes out at a padded frame means nothing but is finite.
"""

from .attention import MultiHeadSelfAttention
from .registry import MIXERS, build_mixer, register_mixer
from .summarymixing import SummaryMixing

__all__ = ["MIXERS", "MultiHeadSelfAttention", "SummaryMixing", "build_mixer", "register_mixer"]
