"""Intervals over trainings against their formula, written out, and how often they cover the true value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from summarymixing_fairseq.probing.metrics.trainings import interval_of_mean, interval_of_share, interval_over_seeds


def is_nan(interval) -> bool:
    return all(math.isnan(end) for end in interval)


def test_a_ratio_equals_the_formula_written_out():
    totals = [10, 30, 20, 40]
    errors, rivals = [[2, 6, 5, 9], [3, 5, 4, 8], [2, 9, 5, 7]], [[4, 8, 6, 12], [3, 9, 7, 10]]
    parts = []  # variance and degrees of freedom
    for side in (errors, rivals):
        sums = [sum(training) for training in side]
        middle = sum(sums) / len(sums)
        parts.append((sum((s / middle - 1) ** 2 for s in sums) / (len(sums) - 1) / len(sums), len(sums) - 1))
    shares = [[sum(t[i] for t in side) / sum(map(sum, side)) for i in range(4)] for side in (errors, rivals)]
    parts.append((4 / 3 * sum((a - b) ** 2 for a, b in zip(*shares)), 3))
    variance = sum(v for v, _ in parts)
    t = stats.t.ppf(0.975, variance**2 / sum(v**2 / free for v, free in parts))
    ratio = (sum(map(sum, errors)) / 3) / (sum(map(sum, rivals)) / 2)
    expected = [ratio * math.exp(sign * t * math.sqrt(variance)) for sign in (-1, 1)]
    assert interval_over_seeds(errors, totals, rivals) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("of_seeds", "ratio"), [(0.03, True), (0.06, True), (0.06, False)])
def test_three_trainings_cover_the_true_value(of_seeds, ratio):
    """600 studies of 60 clips whose difficulty both models share."""
    rng, covered, runs = np.random.default_rng(2), 0, 600
    for _ in range(runs):
        totals = rng.integers(10, 60, 60)
        difficulty = np.clip(0.4 + 0.1 * rng.standard_normal(60), 0.05, 0.95)
        sides = [
            rng.binomial(totals, np.clip(difficulty * np.exp(of_seeds * rng.standard_normal((3, 1))), 0, 1))
            for _ in range(2)
        ]
        low, high = interval_over_seeds(sides[0], totals, sides[1] if ratio else None)
        covered += low <= (1 if ratio else 0.4) <= high
    assert 0.93 < covered / runs < 0.99


def test_what_paired_trainings_share_cancels_out():
    start = np.array([[1.0], [1.3], [0.8]])
    errors = start * np.array([10, 20, 30]) * np.array([[1.0], [1.01], [1.0]])
    rivals = start * np.array([12, 22, 35])
    apart, paired = (interval_over_seeds(errors, [50, 60, 70], rivals, paired=paired) for paired in (False, True))
    assert paired[1] - paired[0] < (apart[1] - apart[0]) / 5


def test_too_little_for_an_interval():
    errors, totals = [[1, 2], [2, 2]], [5, 5]
    assert is_nan(interval_over_seeds(errors[:1], totals)) and is_nan(interval_over_seeds(errors, totals, errors[:1]))
    assert is_nan(interval_over_seeds([[1], [2]], [5])) and is_nan(interval_over_seeds([[0, 0], [0, 0]], totals))
    assert interval_over_seeds([[1, 1], [1, 1]], totals) == (0.2, 0.2)
    assert is_nan(interval_of_share(0, 0))


def test_a_mean():
    values = [1.0, 2.5, 4.0, 2.0]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert interval_of_mean(values) == pytest.approx(expected, rel=1e-6)
    assert is_nan(interval_of_mean([1.0]))


def test_a_share():
    """The shares p at which the one that was found is 1.96 standard errors away (Wilson's definition)."""
    for hits, total in ((0, 10), (7, 10), (3, 3), (1, 3)):
        for end in interval_of_share(hits, total):
            distance = abs(hits / total - end) / math.sqrt(max(end * (1 - end), 1e-30) / total)
            assert distance == pytest.approx(1.959964, abs=1e-4) or (end in (0, 1) and hits in (0, total))
