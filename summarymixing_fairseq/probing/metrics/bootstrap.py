"""95 % confidence intervals by the percentile bootstrap (Efron and Tibshirani, 1993, chapter 13).

Resampled is what is drawn independently: utterances, with all their words; speakers, for verification trials, since
trials that share a speaker are not independent. Each function draws from a generator of its own, made of ``seed``: the
same input and seed give the same interval.

With a single utterance or speaker nothing can be resampled: the interval is (NaN, NaN), not one of no width. Intervals
from a few utterances or speakers are known to be too narrow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .classification import check_labels, macro_f1_of_counts
from .trials import Trials
from .verification import SortedTrials, eer_of_rates, min_dcf_of_rates

NUM_REPLICATES = 1000
_PERCENTILES = (2.5, 97.5)
_BLOCK_WEIGHTS = 2**18  # weights of trials computed at a time: what a processor's cache holds

Interval = tuple[float, float]
UNDEFINED: Interval = (float("nan"), float("nan"))


class TrialIntervals(NamedTuple):
    """Intervals of the metrics of verification, (low, high) each: ``eer`` as a fraction, ``min_dcf`` normalised."""

    eer: Interval
    min_dcf: Interval


def interval_of_ratio(
    errors: ArrayLike, totals: ArrayLike, num_replicates: int = NUM_REPLICATES, seed: int = 0
) -> Interval:
    """(low, high) of sum(errors) / sum(totals), utterances resampled: WER, CER, or accuracy with totals of 1.

    A replicate whose total is 0 (all utterances drawn have empty references) is drawn again.

    Args:
        errors, totals: (utterances,), not negative.

    Returns:
        (low, high); (NaN, NaN) for fewer than two utterances or where all totals are 0.

    Raises:
        ValueError: for lists of unequal length or values that are negative or not finite.
    """
    errors, totals = np.asarray(errors, np.float64), np.asarray(totals, np.float64)
    if errors.ndim != 1 or errors.shape != totals.shape:
        raise ValueError(f"errors of shape {errors.shape}, totals of shape {totals.shape}: one of each per utterance")
    for name, values in (("errors", errors), ("totals", totals)):
        if not (np.isfinite(values) & (values >= 0)).all():
            raise ValueError(f"{name} must be finite and not negative")
    if len(errors) < 2 or not totals.any():
        return UNDEFINED
    # Utterances that are alike need not be told apart: (kinds, 2) and how many there are of each
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
    """(low, high) of the macro-averaged F1, clips resampled; each replicate averages over the classes that it holds.

    Args:
        references, predictions: (clips,) integers, 0 to num_classes - 1.

    Returns:
        (low, high); (NaN, NaN) for fewer than two clips.

    Raises:
        ValueError: as ``classification.confusion_matrix``.
    """
    references, predictions = check_labels(references, predictions, num_classes)
    if len(references) < 2:
        return UNDEFINED
    cells, sizes = np.unique(references * num_classes + predictions, return_counts=True)
    counts = _draw(sizes, num_replicates, seed)
    rows, columns = np.divmod(cells, num_classes)
    hits, num_references, num_predictions = (
        np.stack([np.bincount(of, weights=these, minlength=num_classes) for these in counts * mask])
        for of, mask in ((rows, rows == columns), (rows, 1), (columns, 1))
    )
    return _percentiles(macro_f1_of_counts(hits, num_references, num_predictions))


def interval_by_speaker(
    scores: ArrayLike,
    trials: Trials,
    speakers: Sequence[str],
    num_replicates: int = NUM_REPLICATES,
    seed: int = 0,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> TrialIntervals:
    """Intervals of EER and minDCF, the speakers of the trials resampled with replacement.

    In a replicate that draws speaker s count[s] times, a trial of clips of one speaker a weighs count[a], one of
    speakers a and b count[a] * count[b]. A replicate in which target or non-target trials have no weight is drawn
    again, so intervals are those given that both kinds are there.

    Args:
        scores: (trials,); trials: what they are scores of; speakers: of each clip that ``trials`` counts.
        p_target, c_miss, c_fa: of ``min_dcf``.

    Returns:
        (low, high) of each; (NaN, NaN) where the trials are all of one speaker.

    Raises:
        InputError: as ``verification.equal_error_rate``.
    """
    ordered = SortedTrials.of(scores, trials.labels)
    _, codes = np.unique(np.asarray(speakers), return_inverse=True)
    sides = np.stack([codes[trials.first], codes[trials.second]])[:, ordered.order]
    present, sides = np.unique(sides, return_inverse=True)
    num_speakers = len(present)
    if num_speakers < 2:
        return TrialIntervals(UNDEFINED, UNDEFINED)
    # Older and newer numpy disagree on the shape of an inverse
    first, second = sides.reshape(2, -1)  # (2, trials)
    # Many trials share a pair of speakers and with it a weight: (pairs,) of each side, and the pair of each trial
    pairs, pair_of = np.unique(
        np.minimum(first, second) * num_speakers + np.maximum(first, second), return_inverse=True
    )
    one, other = np.divmod(pairs, num_speakers)
    kinds = np.stack(
        [np.bincount(pair_of, kind, len(pairs)) for kind in (ordered.is_target, ~ordered.is_target)], axis=1
    )  # (pairs, 2), target and non-target trials of each pair

    def weights_of(counts: np.ndarray) -> np.ndarray:
        """(replicates, speakers) -> (replicates, pairs)."""
        return counts[:, one] * np.where(one == other, 1, counts[:, other])

    block = max(1, _BLOCK_WEIGHTS // len(ordered.order))

    def has_both(counts: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [(weights_of(counts[i : i + block]) @ kinds > 0).all(1) for i in range(0, len(counts), block)]
        )

    counts = _draw(np.ones(num_speakers, np.int64), num_replicates, seed, has_both)
    eers, costs = [], []
    for i in range(0, num_replicates, block):
        weights = np.take(weights_of(counts[i : i + block]).astype(np.float64), pair_of, axis=1)  # (block, trials)
        rates = ordered.rates(weights)
        eers.append(eer_of_rates(*rates)[0])
        costs.append(min_dcf_of_rates(*rates, p_target, c_miss, c_fa))
    return TrialIntervals(_percentiles(np.concatenate(eers)), _percentiles(np.concatenate(costs)))


def _draw(
    sizes: np.ndarray,
    num_replicates: int,
    seed: int,
    is_usable: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """How often each kind is drawn when as many are drawn, with replacement, as there are.

    Args:
        sizes: (kinds,), how many there are of each.
        is_usable: (replicates, kinds) -> (replicates,) bool; the others are drawn again. The whole itself must be
            usable for few of its members, or this would not end.

    Returns:
        (num_replicates, kinds) int64.
    """
    if num_replicates < 1:
        raise ValueError(f"num_replicates={num_replicates} must be 1 or more")
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
