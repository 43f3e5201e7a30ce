"""95 % confidence intervals by the percentile bootstrap (Efron and Tibshirani, 1993, chapter 13).

What is independent is resampled: utterances with all their words, and for verification trials the speakers, since
trials that share a speaker are not independent. Each function makes its own random generator from ``seed``: the same
input and seed give the same interval.

A single utterance or speaker cannot be resampled: the interval is then (NaN, NaN). Intervals from a few utterances or
speakers are known to be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from .trials import Trials
from .verification import eer_and_min_dcf

NUM_REPLICATES = 1000
_PERCENTILES = (2.5, 97.5)

Interval = tuple[float, float]
UNDEFINED: Interval = (float("nan"), float("nan"))


def interval_of_ratio(
    errors: ArrayLike, totals: ArrayLike, num_replicates: int = NUM_REPLICATES, seed: int = 0
) -> Interval:
    """Interval of sum(errors) / sum(totals), utterances resampled: WER, CER, or accuracy with totals of 1.

    A replicate whose total is 0 (all its utterances have empty references) is drawn again.

    Args:
        errors: (utterances,), which may be differences of two models' errors; totals: (utterances,), not negative.

    Returns:
        (low, high); (NaN, NaN) for fewer than two utterances or where all totals are 0.
    """
    errors, totals = np.asarray(errors, np.float64), np.asarray(totals, np.float64)
    if len(errors) < 2 or not totals.any():
        return UNDEFINED
    # equal utterances are drawn together: (kinds, 2), and how many there are of each
    kinds, sizes = np.unique(np.stack([errors, totals], axis=1), axis=0, return_counts=True)
    counts = _draw(sizes, num_replicates, seed, lambda counts: counts @ kinds[:, 1] > 0)
    return _percentiles((counts @ kinds[:, 0]) / (counts @ kinds[:, 1]))


def interval_of_macro_f1(
    references: ArrayLike,
    predictions: ArrayLike,
    num_classes: int,
    num_replicates: int = NUM_REPLICATES,
    seed: int = 0,
) -> Interval:
    """Interval of the macro-averaged F1, clips resampled; each replicate averages over the classes that it holds.

    A class that occurs but is never right has an F1 of 0, as in scikit-learn's
    ``f1_score(average="macro", zero_division=0)``.

    Args:
        references, predictions: (clips,) integers, 0 to num_classes - 1.

    Returns:
        (low, high); (NaN, NaN) for fewer than two clips.
    """
    references, predictions = np.asarray(references), np.asarray(predictions)
    if len(references) < 2:
        return UNDEFINED
    cells, sizes = np.unique(references * num_classes + predictions, return_counts=True)
    counts = _draw(sizes, num_replicates, seed)
    rows, columns = np.divmod(cells, num_classes)
    hits, num_references, num_predictions = (
        np.stack([np.bincount(classes, weights=row, minlength=num_classes) for row in counts * mask])
        for classes, mask in ((rows, rows == columns), (rows, 1), (columns, 1))
    )
    occurrences = num_references + num_predictions
    return _percentiles((2 * hits / np.maximum(occurrences, 1)).sum(1) / (occurrences > 0).sum(1))  # (replicates,)


def interval_by_speaker(
    scores: ArrayLike,
    trials: Trials,
    speakers: Sequence[str],
    num_replicates: int = NUM_REPLICATES,
    seed: int = 0,
) -> tuple[Interval, Interval]:
    """Intervals of EER and minDCF, the speakers of the trials resampled with replacement.

    In a replicate that draws speaker s count[s] times, a trial between two clips of speaker a counts count[a] times,
    one between speakers a and b count[a] * count[b] times. A replicate without a target or without a non-target trial
    is drawn again.

    Args:
        scores: (trials,); speakers: of each clip.

    Returns:
        (low, high) of each; (NaN, NaN) where the trials are all of one speaker.
    """
    scores = np.asarray(scores, np.float64)
    order = np.argsort(-scores)  # sorted once, not in every replicate
    scores, labels = scores[order], trials.labels[order]
    _, codes = np.unique(np.asarray(speakers), return_inverse=True)
    clips = np.concatenate([trials.first[order], trials.second[order]])
    present, sides = np.unique(codes[clips], return_inverse=True)
    if len(present) < 2:
        return UNDEFINED, UNDEFINED
    first, second = sides.reshape(2, -1)  # (2, trials)
    rng = np.random.default_rng(seed)
    values: list[tuple[float, float]] = []
    while len(values) < num_replicates:
        count = rng.multinomial(len(present), np.full(len(present), 1 / len(present)))
        weights = count[first] * np.where(first == second, 1, count[second])
        if weights[labels].any() and weights[~labels].any():
            values.append(eer_and_min_dcf(scores, labels, weights))
    eers, costs = np.transpose(values)
    return _percentiles(eers), _percentiles(costs)


def _draw(
    sizes: np.ndarray,
    num_replicates: int,
    seed: int,
    is_usable: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """How often each kind is drawn when as many are drawn, with replacement, as there are.

    Args:
        sizes: (kinds,), how many there are of each.
        is_usable: (replicates, kinds) -> (replicates,) bool; the others are drawn again.

    Returns:
        (num_replicates, kinds) int64.
    """
    rng = np.random.default_rng(seed)
    num_drawn = int(sizes.sum())
    kept = np.empty((0, len(sizes)), np.int64)
    while len(kept) < num_replicates:
        counts = rng.multinomial(num_drawn, sizes / num_drawn, size=num_replicates)
        if is_usable is not None:
            counts = counts[is_usable(counts)]
        kept = np.concatenate([kept, counts])
    return kept[:num_replicates]


def _percentiles(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, _PERCENTILES)
    return float(low), float(high)
