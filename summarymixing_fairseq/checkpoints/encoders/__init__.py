"""Speech encoders out of checkpoints, ours or fairseq's, through one interface."""

from __future__ import annotations

from .interface import Encoder, EncoderSpec
from .loading import load_encoder, load_model, num_parameters, random_encoder

__all__ = ["Encoder", "EncoderSpec", "load_encoder", "load_model", "num_parameters", "random_encoder"]
