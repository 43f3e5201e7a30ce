"""Accuracy, macro-averaged F1 and confusion matrix of one label per clip. Labels are integers, 0 to num_classes - 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def confusion_matrix(references: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """Number of clips by [reference, prediction], (num_classes, num_classes) int64.

    Raises:
        ValueError: for lists that are empty or of unequal length.
    """
    from sklearn import metrics  # takes a second

    return metrics.confusion_matrix(np.asarray(references), np.asarray(predictions), labels=np.arange(num_classes))


def accuracy(confusion: np.ndarray) -> float:
    """Share of clips on the diagonal of a (C, C) confusion matrix."""
    return float(np.trace(confusion) / confusion.sum())


def macro_f1(confusion: np.ndarray) -> float:
    """F1 averaged over classes, each with the same weight, from a (C, C) confusion matrix with rows = reference.

    The average is over the classes that occur among the references or the predictions. A class that occurs but is
    never right has an F1 of 0. This is scikit-learn's ``f1_score(average="macro", zero_division=0)``.
    """
    return float(macro_f1_of_counts(np.diagonal(confusion), confusion.sum(1), confusion.sum(0)))


def macro_f1_of_counts(hits: np.ndarray, num_references: np.ndarray, num_predictions: np.ndarray) -> np.ndarray:
    """``macro_f1`` of many confusion matrices at once, as the bootstrap needs it.

    Args:
        hits, num_references, num_predictions: (..., C), the diagonal, row sums and column sums of each matrix.

    Returns:
        (...)
    """
    occurrences = num_references + num_predictions
    return (2 * hits / np.maximum(occurrences, 1)).sum(-1) / (occurrences > 0).sum(-1)
