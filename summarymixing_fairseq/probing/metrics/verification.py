"""Scores of verification trials, and their equal error rate (EER) and minimum detection cost (minDCF).

A trial is accepted if its score is at least the threshold. The false acceptance rate (FAR) is the share of non-target
trials that are accepted, the miss rate (FRR, false rejection) the share of target trials that are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ...system.errors import InputError
from .trials import Trials

P_TARGET = 0.01  # prior probability of a target trial
_BLOCK = 4096  # trials scored at a time
# An embedding that differs from the mean by less than this share of its own length equals it but for rounding.
_ROUNDING = 1e-6


def score_trials(
    embeddings: np.ndarray, trials: Trials, names: Sequence[str], subtract_mean: bool = False
) -> np.ndarray:
    """Cosine of the two embeddings of each trial.

    Args:
        embeddings: (clips, E), any float type; trials: of indices of clips; names: of the clips, for messages.
        subtract_mean: take the mean of all embeddings from each first. The mean uses the test set, though not its
            labels: it has to be named with a result.

    Returns:
        (trials,) float64.

    Raises:
        InputError: naming the clip whose embedding is not finite, zero, or with ``subtract_mean`` equal to the mean but
            for rounding.
    """

    def refuse(is_bad: np.ndarray, complaint: str) -> None:
        if is_bad.any():
            raise InputError(f"the embedding of {names[int(is_bad.argmax())]} {complaint}")

    refuse(~np.isfinite(embeddings).all(1), "is not finite: check the clip and the model for NaN")
    lengths = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    refuse(lengths == 0, "is zero and has no direction: is the clip silent, is the model trained?")
    vectors = embeddings.astype(np.float64)
    if subtract_mean:
        vectors -= vectors.mean(0)
        original, lengths = lengths, np.linalg.norm(vectors, axis=1)
        refuse(
            lengths <= _ROUNDING * original,
            "equals the mean embedding and has no direction: is it the only clip, does the model give all the same?",
        )
    vectors /= lengths[:, None]
    normalised = vectors.astype(np.promote_types(embeddings.dtype, np.float32))
    scores = np.empty(len(trials))
    for start in range(0, len(trials), _BLOCK):
        block = slice(start, start + _BLOCK)
        one, other = normalised[trials.first[block]], normalised[trials.second[block]]  # (block, E)
        scores[block] = np.einsum("te,te->t", one, other, dtype=np.float64)
    return scores


def eer_and_min_dcf(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> tuple[float, float]:
    """Both metrics, over every operating point of the ROC from all rejected to all accepted.

    EER, a fraction: where FAR = FRR, interpolated between two points. minDCF: the least ``P_TARGET`` FRR + (1 -
    ``P_TARGET``) FAR, divided by that of rejecting all trials, as in NIST's evaluations; so 1 is the worst. Trials of
    equal score are accepted together: nothing depends on their order.

    Args:
        scores: (trials,), higher for the same speaker; labels: (trials,), 1 or True: same speaker (target).
            There must be target and non-target trials.
        weights: (trials,), how often each trial counts; None: once.

    Raises:
        ValueError: for lists of unequal length, or a score that is not finite.
    """
    from sklearn.metrics import roc_curve  # takes a second

    far, hit_rate, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    difference = far - (1 - hit_rate)  # rises from -1 to 1
    after = int((difference >= 0).argmax())
    before = after - 1
    fraction = -difference[before] / (difference[after] - difference[before])
    eer = far[before] + fraction * (far[after] - far[before])
    cost = P_TARGET * (1 - hit_rate) + (1 - P_TARGET) * far
    return float(eer), float(cost.min() / P_TARGET)
