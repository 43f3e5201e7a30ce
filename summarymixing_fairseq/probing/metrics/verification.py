"""Equal error rate and minimum detection cost of verification trials.

A trial is accepted if its score is at least the threshold. The false acceptance rate (FAR) is the share of non-target
trials accepted, the miss rate (FRR, false rejection) the share of target trials rejected. Trials of equal score are
accepted together, so no result depends on the order of trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...system.errors import InputError


class EqualErrorRate(NamedTuple):
    """``rate``: a fraction, 0 to 1; ``threshold``: the highest score which, as a threshold, gives FAR >= FRR."""

    rate: float
    threshold: float


@dataclass(frozen=True, eq=False)
class SortedTrials:
    """Trials by descending score, sorted once for as many weightings as are wanted.

    Attributes:
        order: (trials,), which trial stands at each place.
        is_target: (trials,) bool, in that order.
        thresholds: (groups,) float64, the different scores, descending.
        group_ends: (groups,), place of the last trial of each score.
    """

    order: np.ndarray
    is_target: np.ndarray
    thresholds: np.ndarray
    group_ends: np.ndarray

    @classmethod
    def of(cls, scores: ArrayLike, labels: ArrayLike) -> SortedTrials:
        """Sort trials.

        Args:
            scores: (trials,), higher for the same speaker; labels: (trials,), 1 or True: same speaker (target).

        Raises:
            InputError: for lists of unequal length, a score that is not finite, a label that is neither 0 nor 1, or
                trials of one kind alone.
        """
        scores, is_target = _check(scores, labels)
        order = np.argsort(-scores, kind="stable")
        ordered = scores[order]
        group_ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
        return cls(order, is_target[order], ordered[group_ends], group_ends)

    def rates(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """FAR and FRR at every operating point, from all rejected (0, 1) to all accepted (1, 0).

        Args:
            weights: (..., trials), not negative, in the order of ``order``; both kinds have some. None: 1 each.

        Returns:
            two arrays (..., groups + 1); point 0 rejects all, point k accepts scores of ``thresholds[k - 1]`` or more.
        """
        if weights is None:
            targets, others = self.is_target.astype(np.int64), (~self.is_target).astype(np.int64)
        else:
            targets = weights * self.is_target
            others = weights - targets
        accepted_targets, accepted_others = self._accepted(targets), self._accepted(others)
        num_targets, num_others = accepted_targets[..., -1:], accepted_others[..., -1:]
        return accepted_others / num_others, (num_targets - accepted_targets) / num_targets

    def _accepted(self, weights: np.ndarray) -> np.ndarray:
        """(..., trials) -> (..., groups + 1), weight accepted at each operating point."""
        num_groups = len(self.group_ends)
        sums = np.empty((*weights.shape[:-1], num_groups + 1), weights.dtype)
        sums[..., 0] = 0
        if num_groups == weights.shape[-1]:
            np.cumsum(weights, axis=-1, out=sums[..., 1:])
        else:
            sums[..., 1:] = np.cumsum(weights, axis=-1)[..., self.group_ends]
        return sums


def equal_error_rate(scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> EqualErrorRate:
    """EER, where FAR = FRR on the ROC: a polygon through the operating points, interpolated between two of them.

    Args:
        scores, labels: as for ``SortedTrials.of``; weights: (trials,), 0 or more: a trial of weight 2 counts as two.

    Raises:
        InputError: as ``SortedTrials.of``, and where the trials of one kind have no weight.
        ValueError: for weights that are negative, not finite or of another number.
    """
    trials = SortedTrials.of(scores, labels)
    rate, point = eer_of_rates(*trials.rates(_sorted_weights(trials, weights)))
    return EqualErrorRate(float(rate), float(trials.thresholds[point - 1]))


def min_dcf(
    scores: ArrayLike,
    labels: ArrayLike,
    weights: ArrayLike | None = None,
    p_target: float = 0.01,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> float:
    """Minimum over all thresholds of the detection cost c_miss p_target FRR + c_fa (1 - p_target) FAR.

    Normalised as in NIST's speaker recognition evaluations: divided by the cost of the better of the two systems that
    hear no speech, one rejecting all trials and one accepting all, so that 1 is the worst.

    Args:
        scores, labels, weights: as for ``equal_error_rate``.
        p_target: prior probability of a target trial; c_miss, c_fa: costs of a miss and of a false acceptance.

    Raises:
        InputError: as ``equal_error_rate``.
        ValueError: as ``equal_error_rate``, and for a prior outside ]0, 1[ or a cost that is not positive.
    """
    trials = SortedTrials.of(scores, labels)
    return float(min_dcf_of_rates(*trials.rates(_sorted_weights(trials, weights)), p_target, c_miss, c_fa))


def eer_of_rates(false_acceptances: np.ndarray, misses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """EER of many weightings at once.

    Args:
        false_acceptances, misses: (..., groups + 1), as ``SortedTrials.rates`` returns them.

    Returns:
        rate (...) and the index (...) of the first point with FAR >= FRR, 1 or more.
    """
    difference = false_acceptances - misses  # rises from -1 to 1
    point = (difference >= 0).argmax(-1)
    after, before = point[..., None], point[..., None] - 1

    def at(values: np.ndarray, points: np.ndarray) -> np.ndarray:
        return np.take_along_axis(values, points, axis=-1)[..., 0]

    step = at(difference, after) - at(difference, before)
    fraction = -at(difference, before) / step
    start = at(false_acceptances, before)
    return start + fraction * (at(false_acceptances, after) - start), point


def min_dcf_of_rates(
    false_acceptances: np.ndarray, misses: np.ndarray, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0
) -> np.ndarray:
    """``min_dcf`` of many weightings at once: rates (..., groups + 1) -> (...)."""
    if not 0 < p_target < 1:
        raise ValueError(f"p_target={p_target} must be between 0 and 1")
    if not (c_miss > 0 and c_fa > 0):
        raise ValueError(f"c_miss={c_miss} and c_fa={c_fa} must be positive")
    cost_of_misses, cost_of_false_acceptances = c_miss * p_target, c_fa * (1 - p_target)
    cost = cost_of_misses * misses + cost_of_false_acceptances * false_acceptances
    return cost.min(-1) / min(cost_of_misses, cost_of_false_acceptances)


def _check(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """(trials,) float64 scores and bool labels, or InputError."""
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise InputError(f"scores of shape {scores.shape}, labels of shape {labels.shape}: one of each per trial")
    if not scores.size:
        raise InputError("no trial to score: EER and minDCF need target and non-target trials")
    finite = np.isfinite(scores)
    if not finite.all():
        trial = int(finite.argmin())
        raise InputError(f"trial {trial + 1} has the score {scores[trial]}: check the model and clips for NaN")
    is_target = labels == 1
    strange = ~(is_target | (labels == 0))
    if strange.any():
        trial = int(strange.argmax())
        raise InputError(f"trial {trial + 1} has the label {labels[trial]}: 1 (same speaker) or 0 is needed")
    if is_target.all() or not is_target.any():
        present, missing = ("target", "non-target") if is_target.all() else ("non-target", "target")
        raise InputError(
            f"all {len(scores)} trials are {present} trials (label {int(is_target[0])}): EER and minDCF need both "
            f"kinds, add {missing} trials to the list"
        )
    return scores, is_target


def _sorted_weights(trials: SortedTrials, weights: ArrayLike | None) -> np.ndarray | None:
    if weights is None:
        return None
    weights = np.asarray(weights, np.float64)
    if weights.shape != trials.order.shape:
        raise ValueError(f"weights of shape {weights.shape} for {len(trials.order)} trials: one per trial")
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise ValueError("weights of trials must be finite and not negative")
    weights = weights[trials.order]
    for kind, these in (("target", trials.is_target), ("non-target", ~trials.is_target)):
        if not weights[these].any():
            raise InputError(f"all {kind} trials have a weight of 0: EER and minDCF need both kinds")
    return weights
