"""Effective rank of the frames of a model, by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .measures.rank import effective_rank
from .states import evaluating, states_in_batches


def rank_by_layer(model: Any, waves: Sequence[np.ndarray]) -> dict[str, float]:
    """Effective rank of the frames of clips at the latents, the encoder's input and each layer.

    Args:
        model: a pre-training model of ours; waves: (num_samples,) float32 at 16 kHz each, as it takes them.

    Returns:
        by ``latents``, ``input``, ``1``, ``2``, ...; see ``effective_rank``.
    """
    grams: dict[str, Tensor] = {}
    with evaluating(model):
        for _, states in states_in_batches(model, waves):
            for name, state in states.items():
                frames = state.double()
                gram = frames.T @ frames
                grams[name] = grams[name] + gram if name in grams else gram
    return {name: effective_rank(gram) for name, gram in grams.items()}
