"""Scores of trials against a cosine written out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from summarymixing_fairseq.probing.metrics import embeddings as embeddings_module
from summarymixing_fairseq.probing.metrics.embeddings import (
    cosine_scores,
    mean_embedding,
    normalise_embeddings,
    score_trials,
)
from summarymixing_fairseq.probing.metrics.trials import Trials
from summarymixing_fairseq.system.errors import InputError

NAMES = [f"clip{i}.wav" for i in range(11)]


def random_trials(num_clips: int, num_trials: int) -> Trials:
    first, second = np.random.randint(0, num_clips, (2, num_trials))
    return Trials(first == second, first, second)


@pytest.mark.parametrize("block", [1, 3, 4096])
@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 1e-6), (np.float32, 1e-6), (np.float64, 1e-12)])
def test_equal_the_cosine(monkeypatch, block, dtype, tolerance):
    monkeypatch.setattr(embeddings_module, "_BLOCK", block)
    embeddings = (np.random.randn(11, 6) * np.arange(1, 12)[:, None] + 3).astype(dtype)
    trials = random_trials(11, 40)
    mean = mean_embedding(embeddings, NAMES)
    exact = embeddings.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-12)
    scores = score_trials(embeddings, mean, trials, NAMES)
    assert scores.shape == (40,) and scores.dtype == np.float64
    for i, j, score in zip(trials.first, trials.second, scores):
        a, b = exact[i] - exact.mean(0), exact[j] - exact.mean(0)
        assert score == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=tolerance)


def test_mean_of_another_set():
    embeddings, mean = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0])
    normalised = normalise_embeddings(embeddings, mean, NAMES[:2])
    np.testing.assert_allclose(normalised, [[1, 0], [0, 1]])
    assert cosine_scores(normalised, np.array([0, 1]), np.array([1, 1])).tolist() == [0, 1]


@pytest.mark.parametrize("value, message", [(np.nan, "is not finite"), (np.inf, "is not finite"), (0, "is zero")])
@pytest.mark.parametrize("block", [2, 4096])
def test_bad_embedding(monkeypatch, block, value, message):
    monkeypatch.setattr(embeddings_module, "_BLOCK", block)
    embeddings = np.random.randn(11, 4).astype(np.float32)
    embeddings[7] = value
    with pytest.raises(InputError, match=re.escape(f"the embedding of clip7.wav {message}")):
        normalise_embeddings(embeddings, np.zeros(4), NAMES)
    if value != 0:
        with pytest.raises(InputError, match="the embedding of clip7.wav is not finite"):
            mean_embedding(embeddings, NAMES)


def test_embeddings_that_are_all_the_same():
    embeddings = np.tile(np.random.randn(4).astype(np.float32), (11, 1))
    with pytest.raises(InputError, match="the embedding of clip0.wav equals the mean embedding"):
        normalise_embeddings(embeddings, mean_embedding(embeddings, NAMES), NAMES)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"embeddings of shape \(3, 4\) and 11 names"):
        mean_embedding(np.ones((3, 4)), NAMES)
    with pytest.raises(ValueError, match=r"mean of shape \(5,\) for embeddings of shape \(11, 4\)"):
        normalise_embeddings(np.ones((11, 4)), np.ones(5), NAMES)
    with pytest.raises(ValueError, match="no embedding"):
        mean_embedding(np.ones((0, 4)), [])
