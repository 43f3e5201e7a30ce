"""Hidden states of every layer of a speech encoder, ours or fairseq's, through one interface."""

from __future__ import annotations

from .interface import EncoderSpec, StateEncoder
from .loading import build_state_encoder, load_state_encoder, num_parameters

__all__ = ["EncoderSpec", "StateEncoder", "build_state_encoder", "load_state_encoder", "num_parameters"]
