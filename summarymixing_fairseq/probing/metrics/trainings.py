"""95 % confidence intervals over several trainings, of which there are too few to resample.

Three trainings drawn with replacement have two thirds of the variance of three new ones, and never lie outside of those
that are there: a bootstrap of them is too narrow.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .bootstrap import UNDEFINED, Interval


def interval_over_seeds(
    errors: ArrayLike, totals: ArrayLike, rival_errors: ArrayLike | None = None, paired: bool = False
) -> Interval:
    """Interval of an error rate over trainings and utterances, or of its ratio to another model's.

    Student's t on the logarithm, with the degrees of freedom of Welch (Biometrika 1947) and Satterthwaite (Biometrics
    Bulletin 1946). Its variance has a part of each model, between trainings, and one of the utterances, which both
    models share.

    Args:
        errors: (trainings, utterances); totals: (utterances,), positive; rival_errors: (other trainings, utterances).
        paired: training i of both models began with the same weights, so that what they share cancels out.

    Returns:
        (low, high); (NaN, NaN) with fewer than two trainings of a model or two utterances, or a model without errors.
    """
    from scipy import stats  # imported here: it takes a second

    totals = np.asarray(totals, np.float64)
    sides = [np.asarray(side, np.float64) for side in (errors, rival_errors) if side is not None]
    if len(totals) < 2 or any(len(side) < 2 or not side.any() for side in sides):
        return UNDEFINED
    of_trainings = [side.sum(1) / side.sum(1).mean() for side in sides]
    if paired:
        of_trainings = [of_trainings[0] - of_trainings[1]]
    # how much each utterance moves the logarithm, to first order: its share of the errors less that of what divides
    shares = [side.sum(0) / side.sum() for side in sides]
    of_utterances = shares[0] - (shares[1] if len(sides) == 2 else totals / totals.sum())
    n = len(totals)
    parts = [(float(one.var(ddof=1)) / len(one), len(one) - 1) for one in of_trainings]
    parts.append((float((of_utterances**2).sum()) * n / (n - 1), n - 1))
    variance = sum(part for part, _ in parts)
    means = [side.sum() / len(side) for side in sides]
    value = means[0] / (means[1] if len(sides) == 2 else totals.sum())
    if not variance:
        return value, value
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    factor = math.exp(float(stats.t.ppf(0.975, freedom)) * math.sqrt(variance))
    return value / factor, value * factor


def interval_of_mean(values: ArrayLike) -> Interval:
    """Student's t interval of a mean over trainings, such as of differences paired by seed; (NaN, NaN) of one."""
    from scipy import stats

    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return UNDEFINED
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))  # 0 of equal values, where t.interval has NaN
    return float(values.mean()) - half, float(values.mean()) + half


def interval_of_share(hits: int, total: int) -> Interval:
    """Wilson's interval (JASA 1927) of a share, such as of the trainings that collapse; (NaN, NaN) of nothing."""
    from scipy import stats

    if not total:
        return UNDEFINED
    found = stats.binomtest(hits, total).proportion_ci(method="wilson")
    return float(found.low), float(found.high)
