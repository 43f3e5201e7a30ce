"""Scores against a cosine written out; EER and minDCF against counting at every threshold, and by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from summarymixing_fairseq.probing.metrics import verification
from summarymixing_fairseq.probing.metrics.trials import Trials
from summarymixing_fairseq.probing.metrics.verification import (
    eer_and_min_dcf,
    score_trials,
)
from summarymixing_fairseq.system.errors import InputError

few_scores = st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])
any_scores = st.one_of(few_scores, st.floats(-1, 1, width=32))


@st.composite
def trials(draw, scores=any_scores) -> tuple[np.ndarray, np.ndarray]:
    """Scores, often tied, and labels with both kinds."""
    rows = draw(st.lists(st.tuples(scores, st.booleans()), max_size=25))
    rows += [(draw(scores), True), (draw(scores), False)]
    order = draw(st.permutations(range(len(rows))))
    return np.array([rows[i][0] for i in order]), np.array([rows[i][1] for i in order])


def counted_rates(scores, labels) -> list[tuple[float, float]]:
    """FAR and FRR at every threshold, counted trial by trial."""
    thresholds = [np.inf, *sorted(set(scores.tolist()), reverse=True)]
    return [((scores[~labels] >= t).mean(), (scores[labels] < t).mean()) for t in thresholds]


def counted_eer(scores, labels) -> float:
    """Where the polygon through the operating points meets FAR = FRR."""
    points = counted_rates(scores, labels)
    for (far0, frr0), (far1, frr1) in zip(points, points[1:]):
        if far1 >= frr1 - 1e-12:
            fraction = (frr0 - far0) / ((far1 - far0) + (frr0 - frr1))
            return far0 + fraction * (far1 - far0)
    raise AssertionError("the last operating point is (1, 0)")


def counted_dcf(scores, labels) -> float:
    return min(0.01 * frr + 0.99 * far for far, frr in counted_rates(scores, labels)) / 0.01


@given(trials())
def test_equal_the_counted_rates(trials):
    assert eer_and_min_dcf(*trials) == pytest.approx((counted_eer(*trials), counted_dcf(*trials)), abs=1e-9)


@pytest.mark.parametrize("decimals", [1, 8])
def test_many_trials_equal_the_counted_rates(decimals):
    labels = np.random.rand(1000) < 0.2
    scores = np.round(np.random.randn(1000) + 2 * labels, decimals)
    counted = counted_eer(scores, labels), counted_dcf(scores, labels)
    assert eer_and_min_dcf(scores, labels) == pytest.approx(counted, abs=1e-12)


@given(trials(few_scores), st.data())
def test_weights_equal_repeated_trials(trials, data):
    scores, labels = trials
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores))))
    weights[labels.argmax()] += 1
    weights[labels.argmin()] += 1
    repeated = eer_and_min_dcf(np.repeat(scores, weights), np.repeat(labels, weights))
    assert eer_and_min_dcf(scores, labels, weights) == pytest.approx(repeated, abs=1e-12)


@pytest.mark.parametrize(
    "scores, labels, eer, cost",
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1], 0, 0),
        ([0.4, 0.3, 0.2, 0.1], [0, 0, 1, 1], 1, 1),
        ([0.7] * 5, [0, 1, 0, 0, 1], 0.5, 1),
        # (FAR, FRR) = (0, 1), (0, 2/3), (1/2, 1/3), (1, 0): the second step crosses at 4/5 of its length, at 2/5
        ([3.0, 2.0, 2.0, 1.0, 1.0], [1, 1, 0, 1, 0], 0.4, 2 / 3),
    ],
)
def test_by_hand(scores, labels, eer, cost):
    assert eer_and_min_dcf(scores, labels) == pytest.approx((eer, cost))


@pytest.mark.parametrize("scores, labels", [([0.1, float("nan")], [0, 1]), ([0.1, 0.2, 0.3], [0, 1])])
def test_bad_trials(scores, labels):
    with pytest.raises(ValueError):
        eer_and_min_dcf(scores, labels)


NO_TRIALS = Trials(*np.zeros((3, 0), int))
NAMES = [f"clip{i}.wav" for i in range(11)]


@pytest.mark.parametrize("subtract_mean", [False, True])
@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 1e-6), (np.float32, 1e-6), (np.float64, 1e-12)])
def test_equal_the_cosine(monkeypatch, block, dtype, tolerance, subtract_mean):
    monkeypatch.setattr(verification, "_BLOCK", block)
    embeddings = (np.random.randn(11, 6) * np.arange(1, 12)[:, None] + 3).astype(dtype)
    first, second = np.random.randint(0, 11, (2, 40))
    exact = embeddings.astype(np.float64)
    mean = exact.mean(0) if subtract_mean else 0.0
    scores = score_trials(embeddings, Trials(first == second, first, second), NAMES, subtract_mean)
    assert scores.shape == (40,) and scores.dtype == np.float64
    for i, j, score in zip(first, second, scores):
        a, b = exact[i] - mean, exact[j] - mean
        assert score == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=tolerance)


@pytest.mark.parametrize("value, message", [(np.nan, "is not finite"), (np.inf, "is not finite"), (0, "is zero")])
def test_bad_embedding(value, message):
    embeddings = np.random.randn(11, 4).astype(np.float32)
    embeddings[7] = value
    with pytest.raises(InputError, match=re.escape(f"the embedding of clip7.wav {message}")):
        score_trials(embeddings, NO_TRIALS, NAMES)


def test_embeddings_that_are_all_the_same():
    embeddings = np.tile(np.random.randn(4).astype(np.float32), (11, 1))
    with pytest.raises(InputError, match="the embedding of clip0.wav equals the mean embedding"):
        score_trials(embeddings, NO_TRIALS, NAMES, subtract_mean=True)
