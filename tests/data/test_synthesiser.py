"""Tests of data/synthesiser.py: speech by espeak-ng."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from summarymixing_fairseq.data.synthesiser import speak, speak_timed, variants
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


@pytest.mark.parametrize(
    ("voice", "text", "expected"),
    [
        # the word's event of "of" has the sample at which the n before it begins; "of the" is one word to espeak-ng
        ("en-us", "the old man of the sea", {"the": "D I ;", "old": "oU l d", "man": "m a n", "of the": "V v D @"}),
        # clauses, an apostrophe, two events for one number, an end of line
        ("en-us", "Hello, I don't\n know 25 cats.", {"Hello": "h @ l oU", "don't": "d oU n t", "know": "n oU"}),
        ("en-us", "so 25 cats. It", {"25": "t w E n t i f aI v", "cats": "k a t s", "It": "I t"}),
        # a full stop and a dash move the position of the next word
        ("en-us", "he came. 25 saw it. 😀 so", {"came": "k eI m", "25": "t w E n t i f aI v", "so": "s oU"}),
        ("en-us", "so - 'twas (so) cold", {"so": "s oU", "twas": "t w 0 z", "cold": "k oU l d"}),
        # spoken in another order than written
        ("en-us", "for $5 or less", {"for": "f O@", "5": "d 0 l 3 f aI v", "or": "O@", "less": "l E s"}),
        # elisions, liaison, a word in another language
        ("fr", "Il y a les amis, l'homme", {"y": "i ;", "les": "l e z", "amis": "a m i", "l'homme": "l O m"}),
        ("fr", "un weekend ici", {"un": "W~", "weekend": "w i: k E n d", "ici": "i s i"}),
        ("de", "Mai im Haus", {"Mai": "m aI", "im": "I m", "Haus": "h aU s"}),
        # vowel signs at the end of a word are part of it
        ("hi", "मैं घर जाता", {"मैं": "m E~", "घर": "g V r", "जाता": "J a: t a:"}),
    ],
)
def test_words_and_their_phones(voice, text, expected):
    found = {word.text: " ".join(phone.name for phone in word.phones) for word in speak_timed(text, voice)[1]}
    assert {word: found.get(word) for word in expected} == expected


LONG_TEXT = "the quick brown fox, who was there, jumped over the lazy dog. " * 6 + "in the end it slept"


def test_words_are_in_order_and_hold_the_text():
    """A text of many buffers and clauses."""
    samples, words = speak_timed(LONG_TEXT)
    assert " ".join(word.text for word in words) == LONG_TEXT.replace(",", "").replace(".", "")
    phones = [phone for word in words for phone in word.phones]
    ends = [0.0, *(phone.end for phone in phones)]
    assert all(before <= phone.start < phone.end for before, phone in zip(ends, phones)) and ends[-1] <= len(samples)
    assert all(word.start == word.phones[0].start and word.end == word.phones[-1].end for word in words)
    np.testing.assert_array_equal(samples, speak(LONG_TEXT))


def test_times_are_those_of_the_sound():
    samples, words = speak_timed("papa, papa. Papa")
    assert len(words) == 3
    for word, after in zip(words, words[1:]):
        assert after.start - word.end > 1600  # a pause at each end of a clause, and nothing is heard in it
        assert np.abs(samples[round(word.end) + 400 : round(after.start)]).max() < 0.02
        assert np.abs(samples[round(word.start) : round(word.end)]).max() > 0.2


def test_times_follow_the_sample_rate():
    at_16k, at_8k = (speak_timed("hello old world", sample_rate_hz=rate)[1] for rate in (16000, 8000))
    assert [word.text for word in at_8k] == ["hello", "old", "world"]
    for one, other in zip(at_16k, at_8k):
        assert one.start == 2 * other.start and one.end == 2 * other.end


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
