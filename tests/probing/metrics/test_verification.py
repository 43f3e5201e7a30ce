"""EER and minDCF against scikit-learn's ROC, walked point by point."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from summarymixing_fairseq.probing.metrics.verification import (
    SortedTrials,
    eer_of_rates,
    equal_error_rate,
    min_dcf,
    min_dcf_of_rates,
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


def eer_of_roc(scores, labels, weights=None) -> float:
    """Where the polygon through the points of the ROC meets FAR = FRR."""
    fars, hit_rates, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    points = list(zip(fars, 1 - hit_rates))
    for (far0, frr0), (far1, frr1) in zip(points, points[1:]):
        if far1 >= frr1 - 1e-12:
            fraction = (frr0 - far0) / ((far1 - far0) + (frr0 - frr1))
            return far0 + fraction * (far1 - far0)
    raise AssertionError("an ROC ends at (1, 0)")


def cost_of_roc(scores, labels, p_target, c_miss, c_fa, weights=None) -> float:
    fars, hit_rates, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    costs = [c_miss * p_target * (1 - hits) + c_fa * (1 - p_target) * far for far, hits in zip(fars, hit_rates)]
    return min(costs) / min(c_miss * p_target, c_fa * (1 - p_target))


@given(trials())
def test_eer_equals_the_roc(trials):
    assert equal_error_rate(*trials).rate == pytest.approx(eer_of_roc(*trials), abs=1e-9)


@given(trials(), st.sampled_from([0.01, 0.05, 0.5, 0.9]), st.sampled_from([1.0, 10.0]), st.sampled_from([1.0, 3.0]))
def test_min_dcf_equals_the_roc(trials, p_target, c_miss, c_fa):
    cost = min_dcf(*trials, p_target=p_target, c_miss=c_miss, c_fa=c_fa)
    assert cost == pytest.approx(cost_of_roc(*trials, p_target, c_miss, c_fa), abs=1e-9)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_many_trials_equal_the_roc(decimals):
    labels = np.random.rand(5000) < 0.2
    scores = np.round(np.random.randn(5000) + 2 * labels, decimals)
    assert equal_error_rate(scores, labels).rate == pytest.approx(eer_of_roc(scores, labels), abs=1e-12)
    assert min_dcf(scores, labels) == pytest.approx(cost_of_roc(scores, labels, 0.01, 1, 1), abs=1e-12)


@given(trials(few_scores), st.data())
def test_results_do_not_depend_on_the_order(trials, data):
    scores, labels = trials
    order = data.draw(st.permutations(range(len(scores))))
    assert equal_error_rate(scores[order], labels[order]) == equal_error_rate(scores, labels)
    assert min_dcf(scores[order], labels[order]) == min_dcf(scores, labels)


@given(trials(few_scores), st.data())
def test_weights_equal_repeated_trials(trials, data):
    scores, labels = trials
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(scores), max_size=len(scores))))
    weights[labels.argmax()] += 1
    weights[labels.argmin()] += 1
    repeated = np.repeat(scores, weights), np.repeat(labels, weights)
    assert equal_error_rate(scores, labels, weights).rate == pytest.approx(equal_error_rate(*repeated).rate, abs=1e-12)
    assert min_dcf(scores, labels, weights) == pytest.approx(min_dcf(*repeated), abs=1e-12)
    assert equal_error_rate(scores, labels, weights).rate == pytest.approx(
        eer_of_roc(scores, labels, weights), abs=1e-9
    )


@given(trials())
def test_both_kinds_exchanged(trials):
    """Misses become false acceptances: the EER stays."""
    scores, labels = trials
    assert equal_error_rate(-scores, ~labels).rate == pytest.approx(equal_error_rate(scores, labels).rate, abs=1e-9)


@settings(max_examples=30)
@given(trials(few_scores))
def test_many_weightings_at_once(trials):
    ordered = SortedTrials.of(*trials)
    weights = np.random.randint(1, 4, (3, len(trials[0])))
    rates = ordered.rates(weights[:, ordered.order])
    eers, points = eer_of_rates(*rates)
    costs = min_dcf_of_rates(*rates)
    for row, eer, point, cost in zip(weights, eers, points, costs):
        alone = equal_error_rate(*trials, row)
        assert eer == pytest.approx(alone.rate) and ordered.thresholds[point - 1] == alone.threshold
        assert cost == pytest.approx(min_dcf(*trials, row))


def test_perfect_and_inverted_scores():
    labels = [0, 0, 1, 1]
    assert equal_error_rate([0.1, 0.2, 0.3, 0.4], labels) == (0, 0.3)
    assert min_dcf([0.1, 0.2, 0.3, 0.4], labels) == 0
    assert equal_error_rate([0.4, 0.3, 0.2, 0.1], labels).rate == 1
    assert min_dcf([0.4, 0.3, 0.2, 0.1], labels) == 1


def test_equal_scores_tell_nothing():
    assert equal_error_rate([0.7] * 5, [0, 1, 0, 0, 1]) == (0.5, 0.7)
    assert min_dcf([0.7] * 5, [0, 1, 0, 0, 1]) == 1


def test_interpolated_by_hand():
    """(FAR, FRR) = (0, 1), (0, 2/3), (1/2, 1/3), (1, 0): the second step crosses at 4/5 of its way, 2/5 = 2/5."""
    scores, labels = [3.0, 2.0, 2.0, 1.0, 1.0], [1, 1, 0, 1, 0]
    assert equal_error_rate(scores, labels) == (pytest.approx(0.4), 2.0)


def test_threshold_is_an_operating_point():
    labels = np.random.rand(300) < 0.3
    scores = np.random.randn(300) + labels
    _, threshold = equal_error_rate(scores, labels)

    def far_less_frr(threshold: float) -> float:
        return (scores[~labels] >= threshold).mean() - (scores[labels] < threshold).mean()

    assert far_less_frr(threshold) >= 0 > far_less_frr(np.nextafter(threshold, np.inf))


@pytest.mark.parametrize("metric", [equal_error_rate, min_dcf])
@pytest.mark.parametrize(
    "scores, labels, message",
    [
        ([0.1, 0.2], [1, 1], "all 2 trials are target trials (label 1)"),
        ([0.1, 0.2], [0, 0], "add target trials"),
        ([], [], "no trial to score"),
        ([0.1, float("nan")], [0, 1], "trial 2 has the score nan"),
        ([float("inf"), 0.1], [0, 1], "trial 1 has the score inf"),
        ([0.1, 0.2, 0.3], [0, 1], "scores of shape (3,), labels of shape (2,)"),
        ([0.1, 0.2, 0.3], [0, 1, 2], "trial 3 has the label 2"),
    ],
)
def test_bad_trials(metric, scores, labels, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        metric(scores, labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1, 1], "weights of shape (2,) for 3 trials"),
        ([1, -1, 1], "must be finite and not negative"),
        ([1, np.inf, 1], "must be finite and not negative"),
        ([0, 1, 0], "all target trials have a weight of 0"),
        ([1, 0, 1], "all non-target trials have a weight of 0"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        equal_error_rate([0.1, 0.2, 0.3], [1, 0, 1], weights)


@pytest.mark.parametrize("arguments", [{"p_target": 0}, {"p_target": 1}, {"c_miss": 0}, {"c_fa": -1}])
def test_bad_costs(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        min_dcf([0.1, 0.2], [0, 1], **arguments)
