"""Token mixers: one a file, behind one interface and one registry.

A mixer is a module of (B, T, D), bool padding mask (B, T; True = padding) or None -> (B, T, D). A padded frame never
changes a valid one; what comes out at a padded frame means nothing but is finite. It keeps no state between calls.
One that does not take clips of any length has ``max_frames``, and raises InputError at a longer one.

A mixer chooses what may be recomputed by calling ``kernels.recompute.made_again`` and ``dropout``. Where the layer
recomputes, what these return is not stored for the backward pass; elsewhere they are plain calls.

The costs that the classes state leave out the projections of the frames, O(T D^2), which most have.
"""

import math

from torch import nn

from ...system.plugins import modules_of
from .registry import MIXERS, OPTIONS, MixerOptions, build_mixer, register_mixer

modules_of(__name__, __path__)

__all__ = ["MIXERS", "OPTIONS", "MixerOptions", "build_mixer", "most_frames", "register_mixer"]


def most_frames(model: nn.Module) -> float:
    """Frames of the longest clip that the mixers of a model take; infinity where there is no such limit."""
    return min((float(getattr(module, "max_frames", math.inf)) for module in model.modules()), default=math.inf)
