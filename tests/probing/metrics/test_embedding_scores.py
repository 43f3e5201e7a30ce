"""Scores of trials against a cosine written out."""

from __future__ import annotations

import re

import numpy as np
import pytest

from summarymixing_fairseq.probing.metrics import embeddings as embeddings_module
from summarymixing_fairseq.probing.metrics.embeddings import mean_embedding, normalise_embeddings, score_trials
from summarymixing_fairseq.probing.metrics.trials import Trials
from summarymixing_fairseq.system.errors import InputError

NAMES = [f"clip{i}.wav" for i in range(11)]


@pytest.mark.parametrize("block", [3, 4096])
@pytest.mark.parametrize("dtype, tolerance", [(np.float16, 1e-6), (np.float32, 1e-6), (np.float64, 1e-12)])
def test_equal_the_cosine(monkeypatch, block, dtype, tolerance):
    monkeypatch.setattr(embeddings_module, "_BLOCK", block)
    embeddings = (np.random.randn(11, 6) * np.arange(1, 12)[:, None] + 3).astype(dtype)
    first, second = np.random.randint(0, 11, (2, 40))
    mean = mean_embedding(embeddings, NAMES)
    exact = embeddings.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-12)
    scores = score_trials(embeddings, mean, Trials(first == second, first, second), NAMES)
    assert scores.shape == (40,) and scores.dtype == np.float64
    for i, j, score in zip(first, second, scores):
        a, b = exact[i] - exact.mean(0), exact[j] - exact.mean(0)
        assert score == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=tolerance)


def test_mean_of_another_set():
    embeddings, mean = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([1.0, 0.0])
    np.testing.assert_allclose(normalise_embeddings(embeddings, mean, NAMES[:2]), [[1, 0], [0, 1]])
    trials = Trials(np.array([False, True]), np.array([0, 1]), np.array([1, 1]))
    assert score_trials(embeddings, mean, trials, NAMES[:2]).tolist() == [0, 1]


@pytest.mark.parametrize("value, message", [(np.nan, "is not finite"), (np.inf, "is not finite"), (0, "is zero")])
def test_bad_embedding(value, message):
    embeddings = np.random.randn(11, 4).astype(np.float32)
    embeddings[7] = value
    with pytest.raises(InputError, match=re.escape(f"the embedding of clip7.wav {message}")):
        normalise_embeddings(embeddings, mean_embedding(embeddings, NAMES), NAMES)


def test_embeddings_that_are_all_the_same():
    embeddings = np.tile(np.random.randn(4).astype(np.float32), (11, 1))
    with pytest.raises(InputError, match="the embedding of clip0.wav equals the mean embedding"):
        normalise_embeddings(embeddings, mean_embedding(embeddings, NAMES), NAMES)
