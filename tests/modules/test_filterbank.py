"""Log-mel energies against a discrete Fourier transform written out, and their per-utterance normalisation."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from reference import assert_near

from summarymixing_fairseq.modules.filterbank import (
    LogMelFilterbank,
    hz_to_mel,
    mel_filters,
    normalise_per_utterance,
    padding_mask_from_lengths,
)
from summarymixing_fairseq.modules.frontend import FilterbankFrontend


def mel_filters_by_loops(num_mel_bins: int):
    """(201, num_mel_bins): triangles in Hz between edges equally spaced in 1127 ln(1 + f / 700), from 0 to 8 kHz."""

    def to_mel(f):
        return 1127.01048 * math.log(1 + f / 700)

    high = to_mel(8_000)
    edges = [700 * (math.exp((high * i / (num_mel_bins + 1)) / 1127.01048) - 1) for i in range(num_mel_bins + 2)]
    filters = np.zeros((201, num_mel_bins))
    for k in range(201):
        f = k * 40
        for m, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:])):
            if left < f <= centre:
                filters[k, m] = (f - left) / (centre - left)
            elif centre < f < right:
                filters[k, m] = (right - f) / (right - centre)
    return filters


def energies_by_loops(wave: np.ndarray, num_frames: int) -> np.ndarray:
    """(num_frames, 80) in float64: Hamming window of 400 samples each 160, DFT bin by bin, filters, floor, log."""
    n = np.arange(400)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / 399)
    filters = mel_filters_by_loops(80)
    rows = []
    for t in range(num_frames):
        frame = wave[160 * t : 160 * t + 400].astype(np.float64) * window
        power = [
            (frame @ np.cos(2 * np.pi * k * n / 400)) ** 2 + (frame @ np.sin(2 * np.pi * k * n / 400)) ** 2
            for k in range(201)
        ]
        rows.append(np.log(np.maximum(np.array(power) @ filters, 1e-10)))
    return np.stack(rows)


def test_energies_of_speech_equal_a_plain_fourier_transform(speech):
    wave = speech[0][8_000:13_000]
    actual = LogMelFilterbank()(torch.from_numpy(wave)[None])[0]
    assert actual.shape == ((5_000 - 400) // 160 + 1, 80)
    assert_near(actual[:12], torch.from_numpy(energies_by_loops(wave, 12)), 1e-3)


@pytest.mark.parametrize("bins", [80, 40, 23])
def test_filters_equal_the_loops(bins):
    assert_near(mel_filters(bins), torch.from_numpy(mel_filters_by_loops(bins)), 1e-4)


def test_every_filter_of_the_paper_covers_a_frequency_bin():
    assert (mel_filters(80).sum(0) > 0).all()


def test_mel_scale():
    assert hz_to_mel(0) == 0
    assert hz_to_mel(1_000) == pytest.approx(1_000, abs=0.1)  # so the scale is defined


@pytest.mark.parametrize("frequency_hz", [300, 1_000, 5_000])
def test_a_tone_falls_into_its_filter(frequency_hz):
    tone = torch.sin(2 * math.pi * frequency_hz * torch.arange(1_600) / 16_000)
    loudest = LogMelFilterbank()(tone[None])[0].mean(0).argmax().item()
    assert loudest == pytest.approx(hz_to_mel(frequency_hz) / hz_to_mel(8_000) * 81 - 1, abs=1.5)


def test_digital_silence_stays_at_the_floor_and_becomes_zero():
    energies = LogMelFilterbank()(torch.zeros(1, 4_000))
    assert_near(energies, torch.full_like(energies, math.log(1e-10)), 1e-6)
    assert (normalise_per_utterance(energies, torch.tensor([energies.size(1)])) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("precision", ["float32", "half", "bfloat16", "autocast"])
def test_float32_features_for_every_training_precision(speech, precision, dtype):
    wave = torch.from_numpy(speech[0])[None]
    expected = LogMelFilterbank()(wave)
    model = FilterbankFrontend(LogMelFilterbank())
    if precision in ("half", "bfloat16"):
        model = getattr(model, precision)()
    filterbank = model.filterbank
    assert all(constant.dtype == torch.float32 for constant in filterbank.constants(torch.device("cpu")))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        actual = filterbank(wave.to(dtype))
    assert actual.dtype == torch.float32
    assert_near(actual, expected, 1e-3)


def test_a_bfloat16_waveform_degrades_the_features(speech):
    """For this reason the task passes the waveform in float64, which fairseq's trainer does not round."""
    wave = torch.from_numpy(speech[0])[None]
    lengths = torch.tensor([(wave.size(1) - 400) // 160 + 1])
    expected = normalise_per_utterance(LogMelFilterbank()(wave), lengths)
    degraded = normalise_per_utterance(LogMelFilterbank()(wave.bfloat16()), lengths)
    assert (degraded - expected).abs().max() > 0.5


def test_no_gradient():
    wave = torch.randn(1, 800, requires_grad=True)
    assert not LogMelFilterbank()(wave).requires_grad


def test_nothing_to_save_and_a_deepcopy_is_equal():
    filterbank = LogMelFilterbank()
    assert not filterbank.state_dict()
    wave = torch.randn(1, 800)
    assert torch.equal(copy.deepcopy(filterbank)(wave), filterbank(wave))


def test_normalisation_equals_loops_over_valid_frames():
    features = torch.randn(3, 9, 4) * 5 + 20
    lengths = [9, 4, 1]
    for b, length in enumerate(lengths):
        features[b, length:] = float("nan") if b == 1 else 1e30
    actual = normalise_per_utterance(features, torch.tensor(lengths))
    for b, length in enumerate(lengths):
        assert (actual[b, length:] == 0).all()
        for f in range(4):
            values = features[b, :length, f].double().tolist()
            mean = sum(values) / length
            std = math.sqrt(sum((v - mean) ** 2 for v in values) / length)
            for t in range(length):
                assert actual[b, t, f].item() == pytest.approx((values[t] - mean) / (std + 1e-5), abs=1e-4)


def test_normalisation_without_a_valid_frame_is_zero():
    assert (normalise_per_utterance(torch.full((1, 3, 2), float("nan")), torch.tensor([0])) == 0).all()


def test_padding_mask():
    expected = [[False, False, True], [True, True, True], [False, False, False]]
    assert padding_mask_from_lengths(torch.tensor([2, 0, 3]), 3).tolist() == expected


@pytest.mark.parametrize("num_samples", [400, 16_000, 900_000])
def test_windows_filled_up_for_a_gpu_have_the_same_energies(num_samples):
    filterbank = LogMelFilterbank()
    windows = torch.randn(2, num_samples).unfold(1, filterbank.window_samples, filterbank.shift_samples)
    assert_near(filterbank._by_few_plans(windows), filterbank._log_energies(windows), 1e-5)
