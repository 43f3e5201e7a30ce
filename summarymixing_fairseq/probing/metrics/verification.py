"""Equal error rate (EER) and minimum detection cost (minDCF) of verification trials.

A trial is accepted if its score is at least the threshold. The false acceptance rate (FAR) is the share of non-target
trials that are accepted, the miss rate (FRR, false rejection) the share of target trials that are rejected.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

P_TARGET = 0.01


def equal_error_rate(scores: ArrayLike, labels: ArrayLike) -> float:
    """EER as a fraction: where FAR = FRR on the ROC, interpolated between two operating points.

    Args:
        scores: (trials,), higher for the same speaker; labels: (trials,), 1 or True: same speaker (target).
            There must be target and non-target trials.

    Raises:
        ValueError: for lists of unequal length, or a score that is not finite.
    """
    return eer_of_rates(*error_rates(scores, labels))


def min_dcf(scores: ArrayLike, labels: ArrayLike, p_target: float = P_TARGET) -> float:
    """Minimum over all thresholds of the detection cost p_target FRR + (1 - p_target) FAR.

    Normalised as in NIST's speaker recognition evaluations: divided by the cost of the better of two trivial systems,
    one that rejects all trials and one that accepts all. So 1 is the worst.

    Args:
        scores, labels: as for ``equal_error_rate``; p_target: prior probability of a target trial.

    Raises:
        ValueError: as ``equal_error_rate``.
    """
    return min_dcf_of_rates(*error_rates(scores, labels), p_target)


def error_rates(
    scores: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """FAR and FRR at every operating point of the ROC, from all rejected (0, 1) to all accepted (1, 0).

    Trials of equal score are accepted together, so nothing depends on the order of trials.

    Args:
        weights: (trials,), how often each trial counts; None: once.
    """
    from sklearn.metrics import roc_curve  # takes a second

    far, hit_rate, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    return far, 1 - hit_rate


def eer_of_rates(far: np.ndarray, frr: np.ndarray) -> float:
    """EER of what ``error_rates`` returns."""
    difference = far - frr  # rises from -1 to 1
    after = int((difference >= 0).argmax())
    before = after - 1
    fraction = -difference[before] / (difference[after] - difference[before])
    return float(far[before] + fraction * (far[after] - far[before]))


def min_dcf_of_rates(far: np.ndarray, frr: np.ndarray, p_target: float = P_TARGET) -> float:
    """``min_dcf`` of what ``error_rates`` returns."""
    cost = p_target * frr + (1 - p_target) * far
    return float(cost.min() / min(p_target, 1 - p_target))
