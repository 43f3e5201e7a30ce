"""Noise of an exact level, the power of a room, and the cosine that says what stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis.measures.robustness import (
    GAIN_DB,
    disturbances,
    similarity,
    with_noise,
    with_reverberation,
)


def power(wave: np.ndarray) -> float:
    return float(np.square(wave, dtype=np.float64).sum())


@pytest.mark.parametrize("snr", [20.0, 0.0, -5.0])
def test_the_noise_has_its_exact_level(speech, snr):
    noisy = with_noise(speech[0], snr, np.random.default_rng(1))
    assert noisy.dtype == np.float32
    noise = noisy.astype(np.float64) - speech[0]
    assert abs(10 * np.log10(power(speech[0]) / power(noise)) - snr) < 1e-4  # float32


def test_reverberation_is_a_convolution_of_the_same_power(speech):
    wave, length = speech[3], 1600
    heard = with_reverberation(wave, 0.1, np.random.default_rng(2))
    tail = np.random.default_rng(2).standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    response = tail / np.linalg.norm(tail)
    response[0] += 1
    plain = np.convolve(wave.astype(np.float64), response)[: len(wave)]
    plain *= np.sqrt(power(wave) / power(plain))
    assert heard.dtype == np.float32 and heard.shape == wave.shape
    np.testing.assert_allclose(heard, plain, atol=1e-6)
    assert abs(power(heard) / power(wave) - 1) < 1e-5


def test_disturbances_by_name(speech):
    found = disturbances(speech[3], np.random.default_rng(0))
    assert list(found) == ["gain -12 dB", "noise 20 dB", "noise 10 dB", "noise 0 dB", "reverberation 0.4 s"]
    assert abs(10 * np.log10(power(found["gain -12 dB"]) / power(speech[3])) - GAIN_DB) < 1e-4
    again = disturbances(speech[3], np.random.default_rng(0))
    assert all((found[name] == again[name]).all() for name in found)


def test_silence_and_one_sample():
    for wave in (np.zeros(4000, np.float32), np.ones(1, np.float32)):
        for heard in disturbances(wave, np.random.default_rng(0)).values():
            assert heard.shape == wave.shape and np.isfinite(heard).all()


def test_similarity_is_the_mean_cosine():
    one, other = torch.randn(7, 5), torch.randn(7, 5)
    mean = torch.randn(5).double()
    cosines = []
    for a, b in zip(one.double() - mean, other.double() - mean):
        cosines.append(float(sum(a * b) / (sum(a * a) * sum(b * b)) ** 0.5))
    assert abs(similarity(one, other, mean) - np.mean(cosines)) < 1e-9
    assert abs(similarity(one, one, mean) - 1) < 1e-9
    assert np.isnan(similarity(one, other * np.inf, mean))
