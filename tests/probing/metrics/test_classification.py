"""Accuracy, macro-F1 and confusion matrix against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from summarymixing_fairseq.probing.metrics.classification import (
    accuracy,
    confusion_matrix,
    macro_f1,
    macro_f1_of_counts,
)

NUM_CLASSES = 5
pairs = st.lists(st.tuples(st.integers(0, NUM_CLASSES - 1), st.integers(0, NUM_CLASSES - 1)), min_size=1, max_size=30)


@given(pairs)
def test_equal_scikit_learn(pairs):
    references, predictions = zip(*pairs)
    confusion = confusion_matrix(references, predictions, NUM_CLASSES)
    assert accuracy(confusion) == pytest.approx(metrics.accuracy_score(references, predictions))
    expected = metrics.f1_score(references, predictions, average="macro", zero_division=0)
    assert macro_f1(confusion) == pytest.approx(expected)


def test_rows_are_references():
    assert confusion_matrix([0, 0, 1], [1, 1, 2], 3).tolist() == [[0, 2, 0], [0, 0, 1], [0, 0, 0]]


def test_macro_f1_is_over_the_classes_that_occur():
    """Class 1 is predicted only, class 3 not at all: F1 of 0, and not counted."""
    assert macro_f1(confusion_matrix([0, 0, 2], [0, 1, 2], 4)) == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_many_matrices_at_once():
    confusions = np.random.randint(0, 3, (6, 4, 4))
    f1 = macro_f1_of_counts(np.diagonal(confusions, axis1=1, axis2=2), confusions.sum(2), confusions.sum(1))
    np.testing.assert_allclose(f1, [macro_f1(confusion) for confusion in confusions])


@pytest.mark.parametrize("references, predictions", [([0, 1], [0]), ([], [])])
def test_bad_lists(references, predictions):
    with pytest.raises(ValueError):
        confusion_matrix(references, predictions, 3)
