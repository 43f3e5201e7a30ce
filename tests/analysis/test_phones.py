"""Phones of frames, and the accuracy of models of which it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis import phones
from summarymixing_fairseq.analysis.phone_speech import phone_speech
from summarymixing_fairseq.analysis.phones import accuracy_by_layer


def test_phone_speech_is_what_it_says():
    train, test = phone_speech()
    assert 120 < sum(len(wave) for wave, _ in train) / 16_000 < 300
    for what in ("speaker", "text"):
        assert not {getattr(clip, what) for _, clip in train} & {getattr(clip, what) for _, clip in test}
    # all phones of the test are learned, and common ones often enough
    names = [{one.label for _, clip in clips for one in clip.tiers["phones"]} for clips in (train, test)]
    assert names[1] <= names[0] and len(names[0]) > 35
    loud, quiet = [], []
    for wave, clip in train:
        phones_of_clip = clip.tiers["phones"]
        ends = [0.0, *(phone.end for phone in phones_of_clip)]
        assert all(before <= phone.start < phone.end for before, phone in zip(ends, phones_of_clip))
        for phone in phones_of_clip:
            level = np.square(wave[round(phone.start * 16_000) : round(phone.end * 16_000)]).mean()
            {"aU": loud, "oU": loud, "T": quiet, "p": quiet}.get(phone.label, []).append(level)
    # times are those of the sound: nearly every long vowel is louder than nearly every voiceless consonant
    assert np.quantile(loud, 0.05) > np.quantile(quiet, 0.95)


@pytest.fixture
def few_clips(monkeypatch) -> None:
    train, test = phone_speech()
    monkeypatch.setattr(phones, "phone_speech", lambda: (train[::12], test[::12]))


def test_modes_of_modules_stay(tiny_model, few_clips):
    model = tiny_model(dropout=0.3, encoder_layerdrop=0.5).train()
    model.encoder.layers[0].eval()
    found = accuracy_by_layer(model)
    assert list(found) == ["latents", "input", "1", "2"] and all(0.1 < value < 0.7 for value in found.values())
    assert model.training and not model.encoder.layers[0].training and not model.encoder.layers[0].conv.training
    assert model.encoder.layers[1].conv.training


def test_frames_that_hold_nothing(tiny_model, few_clips):
    """All alike, they are all given the commonest phone; not finite, they have no accuracy."""
    model = tiny_model()
    model.encoder.layers[0].norm.weight.data.zero_()
    model.encoder.layers[1].norm.weight.data.fill_(float("nan"))
    found = accuracy_by_layer(model)
    assert 0 < found["1"] < 0.1 < found["input"] and np.isnan(found["2"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_says_what_a_cpu_says(tiny_model, few_clips, dtype):
    model = tiny_model()
    found = accuracy_by_layer(model)
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        assert accuracy_by_layer(model.cuda()) == pytest.approx(found, abs=0.03)
