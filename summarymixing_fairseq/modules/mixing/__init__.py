"""Token mixers: one a file, behind one interface and one registry.

A mixer is a module of (B, T, D), bool padding mask (B, T; True = padding) or None -> (B, T, D). A padded frame never
changes a valid one; what comes out at a padded frame means nothing but is finite. It keeps no state between calls.
One that does not take clips of any length has ``max_frames``, and raises ValueError at a longer one.

Nothing tells a mixer what to recompute. What it gives to ``kernels.recompute.made_again`` and ``dropout`` is not stored
for the backward pass where the layer says so; all else works as it is written.
"""

from ...system.plugins import modules_of
from .registry import MIXERS, OPTIONS, MixerOptions, build_mixer, register_mixer

modules_of(__name__, __path__)

__all__ = ["MIXERS", "OPTIONS", "MixerOptions", "build_mixer", "register_mixer"]
