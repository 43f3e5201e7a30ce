"""Intervals against resampling written out, and how often they cover the true value."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from sklearn.metrics import f1_score

from summarymixing_fairseq.probing.metrics.bootstrap import (
    interval_by_speaker,
    interval_of_macro_f1,
    interval_of_ratio,
)
from summarymixing_fairseq.probing.metrics.trials import Trials, all_pairs
from summarymixing_fairseq.probing.metrics.verification import eer_and_min_dcf


def percentiles(values) -> tuple[float, float]:
    return tuple(np.percentile(values, [2.5, 97.5]))


def is_nan(interval) -> bool:
    return all(math.isnan(end) for end in interval)


def test_ratio_equals_resampled_utterances():
    """Drawn one by one with another generator: equal up to the noise of 4000 replicates."""
    totals = np.random.randint(1, 30, 80)
    errors = np.random.binomial(totals, 0.25)
    values = []
    for _ in range(4000):
        drawn = np.random.randint(0, 80, 80)
        values.append(errors[drawn].sum() / totals[drawn].sum())
    expected, width = percentiles(values), np.ptp(percentiles(values))
    interval = interval_of_ratio(errors, totals, num_replicates=4000)
    np.testing.assert_allclose(interval, expected, atol=0.08 * width)
    assert interval[0] < errors.sum() / totals.sum() < interval[1]


def test_ratio_covers_a_binomial_share():
    """95 % intervals of 200 coin tosses, 600 times. The percentile method is known to miss half a percent."""
    tosses = np.random.rand(600, 200) < 0.3
    low, high = np.transpose([interval_of_ratio(row, np.ones(200), 400, seed=i) for i, row in enumerate(tosses)])
    assert 0.92 < np.mean((low <= 0.3) & (high >= 0.3)) < 0.97
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * math.sqrt(0.3 * 0.7 / 200), rel=0.03)


def test_order_does_not_matter_and_the_seed_does():
    errors, totals = np.random.randint(0, 5, 60), np.random.randint(5, 9, 60)
    order = np.random.permutation(60)
    interval = interval_of_ratio(errors, totals, seed=3)
    assert interval_of_ratio(errors[order], totals[order], seed=3) == interval
    assert interval_of_ratio(errors, totals, seed=4) != interval


def test_ratio_with_empty_references():
    """Of two utterances one has no words: a replicate of that alone has no rate, the others have 1 / 2 and 2 / 2."""
    low, high = interval_of_ratio([1, 1], [2, 0])
    assert (low, high) == (0.5, 1.0)
    assert is_nan(interval_of_ratio([1, 1], [0, 0]))


def test_too_few_to_resample():
    assert is_nan(interval_of_ratio([1], [2])) and is_nan(interval_of_ratio([], []))
    assert is_nan(interval_of_macro_f1([1], [1], 2))
    assert interval_of_ratio([1, 1], [2, 2]) == (0.5, 0.5)


def test_macro_f1_equals_resampled_clips():
    """The same draws, each written out as clips and scored by scikit-learn."""
    references = np.random.randint(0, 4, 40)
    predictions = np.where(np.random.rand(40) < 0.6, references, np.random.randint(0, 6, 40))
    pairs, sizes = np.unique(np.stack([references, predictions]), axis=1, return_counts=True)
    counts = np.random.default_rng(5).multinomial(40, sizes / 40, size=60)
    values = []
    for row in counts:
        drawn = np.repeat(pairs, row, axis=1)
        assert drawn.shape == (2, 40)
        values.append(f1_score(*drawn, average="macro", zero_division=0))
    interval = interval_of_macro_f1(references, predictions, 7, num_replicates=60, seed=5)
    assert interval == pytest.approx(percentiles(values))


def scored_trials(num_speakers: int, clips_each: int, max_trials: int = 10**6):
    """Trials in random order whose scores depend on the speakers as well as on the clips."""
    speakers = np.repeat([f"id{i}" for i in range(num_speakers)], clips_each)
    pairs = all_pairs(speakers, max_trials)
    order = np.random.permutation(len(pairs))
    trials = Trials(pairs.labels[order], pairs.first[order], pairs.second[order])
    difficulty = np.repeat(np.random.randn(num_speakers), clips_each)
    scores = np.random.randn(len(trials)) + 1.5 * trials.labels + difficulty[trials.first] + difficulty[trials.second]
    return np.round(scores, 1), trials, speakers.tolist()


def test_by_speaker_equals_resampled_speakers():
    """The same draws, each trial written out as often as it weighs."""
    scores, trials, speakers = scored_trials(3, 3)
    names = sorted(set(speakers))
    rng = np.random.default_rng(2)
    values, left_out = [], 0
    while len(values) < 50:
        for row in rng.multinomial(3, [1 / 3] * 3, size=50):
            count = dict(zip(names, row))
            drawn = []
            for trial in range(len(trials)):
                a, b = speakers[trials.first[trial]], speakers[trials.second[trial]]
                drawn += [trial] * (count[a] if a == b else count[a] * count[b])
            if len(set(trials.labels[drawn])) < 2:
                left_out += 1
                continue
            values.append(eer_and_min_dcf(scores[drawn], trials.labels[drawn]))
    assert left_out > 0
    intervals = interval_by_speaker(scores, trials, speakers, num_replicates=50, seed=2)
    for interval, drawn in zip(intervals, np.transpose(values[:50])):
        assert interval == pytest.approx(percentiles(drawn))


def test_by_speaker_does_not_depend_on_order_or_on_clips_in_no_trial():
    scores, trials, speakers = scored_trials(6, 4)
    intervals = interval_by_speaker(scores, trials, speakers, 100)
    order = np.random.permutation(len(trials))
    shuffled = Trials(trials.labels[order], trials.second[order], trials.first[order])
    assert interval_by_speaker(scores[order], shuffled, [*speakers, "another"], 100) == intervals
    assert interval_by_speaker(scores, trials, speakers, 100, seed=1) != intervals
    assert intervals[0][0] < eer_and_min_dcf(scores, trials.labels)[0] < intervals[0][1]


def test_by_speaker_is_wider_than_by_trial():
    """Speakers differ in difficulty; resampling single trials would hide it."""
    scores, trials, speakers = scored_trials(8, 6)
    values = []
    for _ in range(200):
        drawn = np.random.randint(0, len(trials), len(trials))
        values.append(eer_and_min_dcf(scores[drawn], trials.labels[drawn])[0])
    (low, high), _ = interval_by_speaker(scores, trials, speakers, num_replicates=200)
    assert high - low > 1.5 * np.ptp(percentiles(values))


def test_one_or_two_speakers():
    """One speaker: undefined. Two: only draws of both speakers have non-target trials."""
    labels, first, second = np.array([True, False]), np.array([0, 0]), np.array([1, 2])
    intervals = interval_by_speaker([0.1, 0.2], Trials(labels, first, second), ["a", "a", "a"], 50)
    assert all(map(is_nan, intervals))
    intervals = interval_by_speaker([0.2, 0.1], Trials(labels, first, second), ["a", "a", "b"], 50)
    assert intervals == ((0, 0), (0, 0))


def test_a_list_of_voxceleb_size_in_seconds():
    scores, trials, speakers = scored_trials(40, 40, max_trials=37_720)
    started = time.process_time()
    interval_by_speaker(scores + 1e-6 * np.random.randn(len(scores)), trials, speakers, num_replicates=100)
    assert time.process_time() - started < 1.5  # 1,000 replicates by default
