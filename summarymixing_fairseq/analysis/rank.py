"""Effective rank of the frames of a model, by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .measures.rank import effective_rank
from .states import evaluating, states_in_batches


def rank_by_layer(model: Any, waves: Sequence[np.ndarray], normalize: bool = False) -> dict[str, float]:
    """Effective rank of the frames of clips at the latents, the encoder's input and each layer.

    Args:
        model, normalize: see ``states_in_batches``.
        waves: (num_samples,) float32 at 16 kHz each.

    Returns:
        by ``latents``, ``input``, ``1``, ``2``, ...; see ``effective_rank``.
    """
    grams: dict[str, Tensor] = {}
    with evaluating(model):
        for _, states in states_in_batches(model, waves, normalize):
            for name, state in states.items():
                frames = state.double()
                gram = frames.T @ frames
                grams[name] = grams[name] + gram if name in grams else gram
    return {name: effective_rank(gram) for name, gram in grams.items()}
