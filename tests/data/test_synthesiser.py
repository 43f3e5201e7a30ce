"""Tests of data/synthesiser.py: speech by espeak-ng."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from summarymixing_fairseq.data.synthesiser import speak, variants
from summarymixing_fairseq.system.errors import InputError

GREETINGS = {
    "en-us": "please enter your password",
    "es": "marque el número de teléfono",
    "fr": "veuillez laisser un message",
    "it": "lasciare un messaggio, prego",
    "ru": "оставьте сообщение после сигнала",
    "cy": "gadewch neges, os gwelwch yn dda",
    "eu": "utzi mezu bat, mesedez",
}


@pytest.mark.parametrize("voice", GREETINGS)
def test_speech_is_mono_float32_of_a_plausible_length_and_level(voice):
    samples = speak(GREETINGS[voice], voice)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert 0.8 < len(samples) / 16000 < 5
    assert 0.2 < np.abs(samples).max() <= 1
    assert 0.02 < np.sqrt(np.mean(samples**2)) < 0.4


def test_same_arguments_same_samples_whatever_came_before():
    first = speak("one two three", "en-us+f3")
    speak("quite another sentence", "ru", words_per_minute=300)
    np.testing.assert_array_equal(speak("one two three", "en-us+f3"), first)


def test_voices_and_variants_differ():
    spoken = [speak("hello", voice) for voice in ("en-us", "en-us+f3", "en-us+m2", "cy")]
    for index, samples in enumerate(spoken):
        for other in spoken[:index]:
            assert len(samples) != len(other) or np.abs(samples - other).max() > 0.01


def test_speed_and_pitch():
    text = "please hold while I try to connect you"
    assert len(speak(text, words_per_minute=300)) < 0.75 * len(speak(text, words_per_minute=150))
    low, high = (_dominant_hz(speak("aaah", pitch=pitch)) for pitch in (10, 90))
    assert high > 1.2 * low


def _dominant_hz(samples: np.ndarray) -> float:
    """Fundamental by autocorrelation, between 60 and 400 Hz."""
    correlation = np.correlate(samples, samples, "full")[len(samples) :]
    lags = np.arange(16000 // 400, 16000 // 60)
    return 16000 / lags[np.argmax(correlation[lags])]


def test_sample_rate_changes_the_number_of_samples():
    at_16k, at_8k = speak("hello world"), speak("hello world", sample_rate_hz=8000)
    assert abs(len(at_16k) - 2 * len(at_8k)) <= 2


def test_variants():
    assert {"f1", "f3", "m2"} <= set(variants())


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("hello", {"voice": "xx"}, "unknown voice 'xx'"),
        ("hello", {"voice": ""}, "unknown voice ''"),
        ("hello", {"voice": "en-us+nobody"}, "no variant 'nobody'"),
        ("hello", {"voice": "fo"}, "could not speak 'hello' with voice 'fo'"),
        (" \n", {}, "no text"),
        ("hello", {"words_per_minute": 10}, "words_per_minute 10 must be from"),
        ("hello", {"pitch": 101}, "pitch 101 must be from"),
    ],
)
def test_what_cannot_be_spoken(text, options, message):
    with pytest.raises(InputError, match=message):
        speak(text, **options)


def test_missing_wheel_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(InputError, match=r"espeakng-loader is missing: pip install '.*\[quickstart\]'"):
        speak("hello")
