"""Words in another order, and a tone at a place, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from summarymixing_fairseq.analysis.measures.order import with_tone, words_in_another_order


@pytest.mark.parametrize("num_words", [2, 3, 6])
def test_words_in_another_order(num_words):
    edges = [160 * i + 7 for i in range(1, num_words + 1)]
    wave = np.arange(edges[-1] + 333, dtype=np.float32)
    pieces = [wave[a:b].tolist() for a, b in zip(edges, [*edges[1:], len(wave)])]
    for seed in range(20):
        found = words_in_another_order(wave, [edge / 16_000 for edge in edges], np.random.default_rng(seed))
        assert found.shape == wave.shape and found.dtype == wave.dtype
        assert (found[: edges[0]] == wave[: edges[0]]).all()
        assert not (found == wave).all()
        left, rest = list(pieces), found[edges[0] :].tolist()
        while rest:  # the rest begins with one of the words, whole
            (first,) = (piece for piece in left if rest[: len(piece)] == piece)
            left.remove(first)
            rest = rest[len(first) :]
        assert not left


def test_one_word_has_no_other_order():
    wave = np.zeros(500, np.float32)
    assert words_in_another_order(wave, [], np.random.default_rng(0)) is None
    assert words_in_another_order(wave, [0.01], np.random.default_rng(0)) is None


@pytest.mark.parametrize("position", [0.0, 0.25, 1.0])
def test_the_tone_is_where_it_was_asked_for(speech, position):
    wave = speech[0].copy()
    found = with_tone(wave, position)
    assert (wave == speech[0]).all() and found.dtype == np.float32
    start = round(position * (len(wave) - 3200))
    loud = (2 * np.mean(wave.astype(np.float64) ** 2)) ** 0.5
    plain = wave.astype(np.float64)
    for n in range(3200):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 3199)
        plain[start + n] += loud * window * np.sin(2 * np.pi * 1000 * n / 16_000)
    np.testing.assert_allclose(found, plain, atol=1e-6)


def test_a_clip_shorter_than_the_tone():
    wave = np.full(100, 0.5, np.float32)
    assert with_tone(wave, 0.7).shape == wave.shape
