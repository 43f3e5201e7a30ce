"""Accuracy, macro-averaged F1 and confusion matrix of one label per clip.

Labels are integers, 0 to num_classes - 1. Without a clip, accuracy and macro-F1 are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def confusion_matrix(references: ArrayLike, predictions: ArrayLike, num_classes: int) -> np.ndarray:
    """(num_classes, num_classes) int64, number of clips by [reference, prediction]: a row is a reference's class.

    Raises:
        ValueError: for lists of unequal length, or a label that is not an integer from 0 to num_classes - 1.
    """
    references, predictions = check_labels(references, predictions, num_classes)
    cells = references * num_classes + predictions
    # (C * C,) -> (C, C)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def accuracy(confusion: np.ndarray) -> float:
    """Share of clips on the diagonal of a (C, C) confusion matrix."""
    return float(np.trace(confusion) / confusion.sum()) if confusion.sum() else float("nan")


def macro_f1(confusion: np.ndarray) -> float:
    """F1 averaged over classes, each counting the same, from a (C, C) confusion matrix with rows = reference.

    The average is over the classes that occur among the references or the predictions. A class that occurs but is
    never right has an F1 of 0. This is scikit-learn's ``f1_score(average="macro", zero_division=0)``.
    """
    return float(macro_f1_of_counts(np.diagonal(confusion), confusion.sum(1), confusion.sum(0)))


def macro_f1_of_counts(hits: np.ndarray, num_references: np.ndarray, num_predictions: np.ndarray) -> np.ndarray:
    """``macro_f1`` of many matrices at once, each given by its diagonal, row sums and column sums.

    Args:
        hits, num_references, num_predictions: (..., C), clips of each class that are right, that are of it, and that
            are taken for it.

    Returns:
        (...), NaN where no class occurs.
    """
    occurrences = num_references + num_predictions  # twice the hits, and the false ones of both kinds
    f1 = 2 * hits / np.maximum(occurrences, 1)
    num_occurring = (occurrences > 0).sum(-1)
    return np.where(num_occurring > 0, f1.sum(-1) / np.maximum(num_occurring, 1), np.nan)


def check_labels(references: ArrayLike, predictions: ArrayLike, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Both as (clips,) int64.

    Raises:
        ValueError: as of ``confusion_matrix``.
    """
    checked = []
    for name, labels in (("references", references), ("predictions", predictions)):
        labels = np.asarray(labels)
        if labels.ndim != 1:
            raise ValueError(f"{name} of shape {labels.shape}: one label per clip is needed")
        if labels.size and not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{name} are {labels.dtype}: class indices must be integers")
        outside = (labels < 0) | (labels >= num_classes)
        if outside.any():
            clip = int(outside.argmax())
            raise ValueError(f"{name}[{clip}] is {labels[clip]}: allowed are 0 to {num_classes - 1}")
        checked.append(labels.astype(np.int64))
    if len(checked[0]) != len(checked[1]):
        raise ValueError(f"{len(checked[0])} references and {len(checked[1])} predictions: one of each per clip")
    return checked[0], checked[1]
