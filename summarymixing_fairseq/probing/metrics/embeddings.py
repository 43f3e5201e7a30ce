"""Scoring trials by the cosine of embeddings, their mean subtracted, then scaled to length 1.

In this order: length comes last, so that the dot product of two embeddings is the cosine. The mean is an argument and
must be said with a result: that of the trials' own clips uses the test set (without its labels), that of the training
set does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...system.errors import InputError
from .trials import Trials

_BLOCK = 4096  # rows computed at a time, in float64: 16 MB for an embedding of 512
# What is left of an embedding when it equals the mean, in its own length: rounding of float32, no direction
_ROUNDING = 1e-6


def mean_embedding(embeddings: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Mean of (clips, E) embeddings, (E,) float64.

    Raises:
        InputError: naming the clip whose embedding is not finite; ValueError: without a clip.
    """
    _check_shape(embeddings, names)
    if not len(embeddings):
        raise ValueError("no embedding to take the mean of")
    total = np.zeros(embeddings.shape[1])
    for start in range(0, len(embeddings), _BLOCK):
        total += _finite_block(embeddings, start, names).sum(0)
    return total / len(embeddings)


def normalise_embeddings(embeddings: np.ndarray, mean: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Subtract ``mean``, then scale each embedding to length 1.

    Args:
        embeddings: (clips, E), any float type; mean: (E,), of whichever set; names: of the clips, for messages.

    Returns:
        (clips, E), float32 or wider.

    Raises:
        InputError: naming the clip whose embedding is not finite, zero, or equal to the mean but for rounding.
    """
    _check_shape(embeddings, names)
    mean = np.asarray(mean, np.float64)
    if mean.shape != embeddings.shape[1:]:
        raise ValueError(f"mean of shape {mean.shape} for embeddings of shape {embeddings.shape}")
    normalised = np.empty(embeddings.shape, np.promote_types(embeddings.dtype, np.float32))
    for start in range(0, len(embeddings), _BLOCK):
        block = _finite_block(embeddings, start, names)
        lengths = np.linalg.norm(block, axis=1)
        block = block - mean
        centred_lengths = np.linalg.norm(block, axis=1)
        _refuse(lengths == 0, start, names, "is zero and has no direction: is the clip silent, the model trained?")
        _refuse(
            centred_lengths <= _ROUNDING * lengths,
            start,
            names,
            "equals the mean embedding and has no direction: is it the only clip, does the model give all clips one?",
        )
        normalised[start : start + _BLOCK] = block / centred_lengths[:, None]
    return normalised


def cosine_scores(normalised: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Dot products of the embeddings of each trial.

    Args:
        normalised: (clips, E), as ``normalise_embeddings`` returns them; first, second: (trials,), rows of them.

    Returns:
        (trials,) float64.
    """
    scores = np.empty(len(first))
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = normalised[first[block]], normalised[second[block]]  # (block, E)
        scores[block] = np.einsum("te,te->t", one, other, dtype=np.float64)
    return scores


def score_trials(embeddings: np.ndarray, mean: np.ndarray, trials: Trials, names: Sequence[str]) -> np.ndarray:
    """(trials,) float64: cosine of the mean- and length-normalised embeddings of each trial's clips.

    Args and errors: of ``normalise_embeddings``; names and embeddings are in the order that ``trials`` counts in.
    """
    return cosine_scores(normalise_embeddings(embeddings, mean, names), trials.first, trials.second)


def _check_shape(embeddings: np.ndarray, names: Sequence[str]) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(names):
        raise ValueError(f"embeddings of shape {embeddings.shape} and {len(names)} names: (clips, E) and one per clip")


def _finite_block(embeddings: np.ndarray, start: int, names: Sequence[str]) -> np.ndarray:
    block = embeddings[start : start + _BLOCK].astype(np.float64)
    _refuse(~np.isfinite(block).all(1), start, names, "is not finite: check the clip and the model for NaN")
    return block


def _refuse(bad: np.ndarray, start: int, names: Sequence[str], complaint: str) -> None:
    if bad.any():
        raise InputError(f"the embedding of {names[start + int(bad.argmax())]} {complaint}")
