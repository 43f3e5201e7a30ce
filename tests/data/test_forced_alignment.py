"""Forced alignment: the best of all paths, by brute force; whatever is left out on the way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from summarymixing_fairseq.data import forced_alignment
from summarymixing_fairseq.data.forced_alignment import align, frames_needed
from summarymixing_fairseq.system.errors import InputError


def spelled(path: tuple[int, ...]) -> list[int]:
    return [symbol for symbol, _ in itertools.groupby(path) if symbol]


def score(log_probs: np.ndarray, path: np.ndarray) -> float:
    return float(log_probs[np.arange(len(path)), path].sum())


def symbols_of(places: np.ndarray, labels: list[int]) -> np.ndarray:
    return np.array([labels[place] if place >= 0 else 0 for place in places])


def noise(num_frames: int, num_symbols: int, seed: int = 0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 2, (num_frames, num_symbols))
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def plain(log_probs: np.ndarray, labels: list[int]) -> float:
    """Score of the best path, over all states of all frames."""
    states = [0, *itertools.chain.from_iterable((label, 0) for label in labels)]
    best = np.full(len(states), -np.inf)
    best[:2] = log_probs[0, states[:2]]
    for frame in log_probs[1:]:
        reached = best.copy()
        reached[1:] = np.maximum(reached[1:], best[:-1])
        for s in range(2, len(states)):
            if states[s] and states[s] != states[s - 2]:
                reached[s] = max(reached[s], best[s - 2])
        best = reached + frame[states]
    return float(best[-2:].max())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.integers(1, 2), max_size=4), st.integers(0, 10**6))
def test_the_best_of_all_paths(num_frames, labels, seed):
    log_probs = noise(num_frames, 3, seed)
    paths = [path for path in itertools.product(range(3), repeat=num_frames) if spelled(path) == labels]
    if not paths:
        assert frames_needed(labels) > num_frames
        with pytest.raises(InputError, match=rf"needs {frames_needed(labels)} frames, and there are {num_frames}"):
            align(log_probs, labels)
        return
    places = align(log_probs, labels)
    assert spelled(tuple(symbols_of(places, labels))) == labels
    best = max(score(log_probs, np.array(path)) for path in paths)
    assert score(log_probs, symbols_of(places, labels)) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("first_loss", [1e-3, 30.0, 1e9])
def test_states_that_are_left_out_do_not_matter(monkeypatch, first_loss):
    """With a limit that is raised often, once and never."""
    monkeypatch.setattr(forced_alignment, "_FIRST_LOSS", first_loss)
    monkeypatch.setattr(forced_alignment, "_LOSS_PER_FRAME", 0.0)
    log_probs = noise(500, 6)
    labels = np.random.default_rng(1).integers(1, 6, 120).tolist()
    places = align(log_probs, labels)
    assert spelled(tuple(symbols_of(places, labels))) == labels
    assert set(np.diff(places[places >= 0])) <= {0, 1}
    assert score(log_probs, symbols_of(places, labels)) == pytest.approx(plain(log_probs, labels), abs=1e-2)


def test_a_long_text_where_it_is_spoken():
    labels = np.random.default_rng(2).integers(1, 30, 3_000)
    truth = np.zeros(20_000, np.int64)
    spoken = np.sort(np.random.default_rng(3).choice(np.arange(0, 20_000, 2), 3_000, replace=False))
    truth[spoken] = labels
    log_probs = np.full((20_000, 30), np.log(0.1 / 29), np.float32)
    log_probs[np.arange(20_000), truth] = np.log(0.9)
    places = align(log_probs, labels)
    np.testing.assert_array_equal(np.flatnonzero(places >= 0), spoken)
    np.testing.assert_array_equal(places[spoken], np.arange(3_000))


def test_symbols_that_cannot_be():
    """A probability of 0 is no error where there is another way."""
    with np.errstate(divide="ignore"):
        log_probs = np.log(np.array([[0.5, 0.5, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32))
    assert align(log_probs, [1, 2]).tolist() == [-1, 0, -1, 1] or align(log_probs, [1, 2]).tolist() == [0, 0, -1, 1]
    assert align(log_probs, [2, 2, 2, 1][:1]).tolist()[-1] == 0
