"""Scores of verification trials: the cosine of embeddings whose mean has been subtracted.

The mean is an argument, and has to be named with a result. The mean over the clips of the trials uses the test set
(though not its labels); the mean over the training set does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...system.errors import InputError
from .trials import Trials

_BLOCK = 4096  # trials scored at a time
# An embedding that differs from the mean by less than this share of its own length equals it but for rounding.
_ROUNDING = 1e-6


def mean_embedding(embeddings: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Mean of (clips, E) embeddings, (E,) float64.

    Raises:
        InputError: naming the clip whose embedding is not finite.
    """
    _refuse(~np.isfinite(embeddings).all(1), names, "is not finite: check the clip and the model for NaN")
    return embeddings.mean(0, dtype=np.float64)


def normalise_embeddings(embeddings: np.ndarray, mean: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Subtract ``mean``, then scale each embedding to length 1: the dot product of two of them is their cosine.

    Args:
        embeddings: (clips, E), finite, any float type; mean: (E,); names: of the clips, for messages.

    Returns:
        (clips, E), float32 or wider.

    Raises:
        InputError: naming the clip whose embedding is zero, or equal to the mean but for rounding.
    """
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    _refuse(lengths == 0, names, "is zero and has no direction: is the clip silent, is the model trained?")
    centred = embeddings - mean.astype(np.float64)
    centred_lengths = np.linalg.norm(centred, axis=1)
    _refuse(
        centred_lengths <= _ROUNDING * lengths,
        names,
        "equals the mean embedding and has no direction: is it the only clip, does the model give all clips the same?",
    )
    centred /= centred_lengths[:, None]
    return centred.astype(np.promote_types(embeddings.dtype, np.float32))


def score_trials(embeddings: np.ndarray, mean: np.ndarray, trials: Trials, names: Sequence[str]) -> np.ndarray:
    """(trials,) float64: cosine of the normalised embeddings of each trial's clips.

    Args and errors: of ``normalise_embeddings``; ``trials`` holds indices of ``names``.
    """
    normalised = normalise_embeddings(embeddings, mean, names)
    scores = np.empty(len(trials))
    for start in range(0, len(trials), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = normalised[trials.first[block]], normalised[trials.second[block]]  # (block, E)
        scores[block] = np.einsum("te,te->t", one, other, dtype=np.float64)
    return scores


def _refuse(is_bad: np.ndarray, names: Sequence[str], complaint: str) -> None:
    if is_bad.any():
        raise InputError(f"the embedding of {names[int(is_bad.argmax())]} {complaint}")
