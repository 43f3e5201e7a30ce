"""`load_recogniser`: text with times of files and arrays, in one pass or by windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import toned as sounds
import torch

import summarymixing_fairseq
from summarymixing_fairseq.checkpoints import recogniser as module
from summarymixing_fairseq.checkpoints.recogniser import Recogniser, load_recogniser
from summarymixing_fairseq.data import windows
from summarymixing_fairseq.system.errors import InputError

TEXT = sounds.sentence(12, 90)


@pytest.fixture(scope="module")
def said() -> sounds.Spoken:
    return sounds.spoken(TEXT, 90)


@pytest.fixture(scope="module")
def recogniser(toned: Path) -> Recogniser:
    return load_recogniser(toned)


def test_words_with_times_and_confidences(recogniser, said, tmp_path):
    assert summarymixing_fairseq.load_recogniser is load_recogniser
    found = recogniser.transcribe(said.waveform)
    assert found.text == TEXT and found.unit == "word" and found.seconds == len(said.waveform) / 16_000
    errors = [abs(got.start - true.start) for got, true in zip(found.words, said.words)]
    errors += [abs(got.end - true.end) for got, true in zip(found.words, said.words)]
    assert np.median(errors) <= 0.02 and max(errors) <= 0.05
    assert all(0.5 < word.confidence <= 1 for word in found.words)
    assert [segment.label for segment in found.segments] == [TEXT]


def test_files_arrays_and_batches(recogniser, said, tmp_path):
    soundfile.write(tmp_path / "a.flac", said.waveform, 16_000)
    short = said.waveform[:1000]
    whole, none, half = recogniser.transcribe_batch(
        [tmp_path / "a.flac", short, torch.from_numpy(said.waveform[: 16_000 * 3])]
    )
    assert whole.text == TEXT and none.text == "" and none.words == ()
    assert TEXT.startswith(half.text.rsplit(" ", 1)[0])
    integers = (said.waveform * 32767).astype(np.int16)
    assert recogniser.transcribe(integers).text == TEXT
    slower = recogniser.transcribe(integers[: 16_000 * 3], sample_rate_hz=8_000)
    assert slower.seconds == pytest.approx(6, abs=1e-3)
    with pytest.raises(InputError, match=r"none\.wav cannot be read: no such file"):
        recogniser.transcribe(tmp_path / "none.wav")


def test_several_hypotheses(recogniser, said):
    found = recogniser.transcribe(said.waveform[: 16_000 * 2], n_best=4)
    texts = [one.text for one in found.hypotheses]
    assert len(set(texts)) == len(texts) and 2 <= len(texts) <= 4 and texts[0] == found.text
    scores = [one.score for one in found.hypotheses]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("out_of_memory", [False, True])
def test_the_same_text_whole_and_by_windows(recogniser, toned, monkeypatch, out_of_memory):
    """Also where one pass was tried and memory did not suffice."""
    text = sounds.sentence(40, 91)
    waveform = sounds.spoken(text, 91).waveform
    monkeypatch.setattr(windows, "WINDOW_SECONDS", 6.0)
    monkeypatch.setattr(windows, "OVERLAP_SECONDS", 2.0)
    monkeypatch.setattr(module, "WINDOW_SECONDS", 6.0)
    lengths = []
    in_one_pass = Recogniser._in_one_pass

    def watched(self, waveforms):
        lengths.extend(map(len, waveforms))
        if out_of_memory and max(map(len, waveforms)) > 100_000:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return in_one_pass(self, waveforms)

    whole = recogniser.transcribe(waveform)
    monkeypatch.setattr(Recogniser, "_in_one_pass", watched)
    by_windows = load_recogniser(toned, one_pass_seconds=None if out_of_memory else 10).transcribe(waveform)
    assert len(lengths) > 4 and (max(lengths) > 100_000) == out_of_memory
    assert by_windows.text == whole.text and by_windows.seconds == whole.seconds
    for got, expected in zip(by_windows.words, whole.words):
        assert got.start == pytest.approx(expected.start, abs=0.041)


@pytest.mark.parametrize("seconds", [3, 20])
def test_where_not_even_a_window_fits_it_is_one_line(recogniser, monkeypatch, seconds):
    monkeypatch.setattr(windows, "WINDOW_SECONDS", 6.0)
    monkeypatch.setattr(windows, "OVERLAP_SECONDS", 2.0)
    monkeypatch.setattr(module, "WINDOW_SECONDS", 6.0)

    def short(self, waveforms):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Recogniser, "_in_one_pass", short)
    with pytest.raises(InputError, match=f"memory does not suffice for 1 clips of up to {seconds} s at a time"):
        recogniser.transcribe(np.zeros(seconds * 16_000, np.float32))


def test_what_does_not_fit_in_memory_is_heard_by_windows(recogniser, monkeypatch):
    monkeypatch.setattr(module, "free_memory", lambda: 2**30)
    small = recogniser._most_samples()
    monkeypatch.setattr(module, "free_memory", lambda: 2**31)
    assert recogniser._most_samples() == 2 * small and 60 < small / 16_000 < 36_000
    monkeypatch.setattr(module, "free_memory", lambda: None)
    assert recogniser._most_samples() == float("inf")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lexicon": "x.model"}, "lexicon is of use with language_model only"),
        ({"chunk_ms": 320}, "chunk_ms is of use with streamed=True only"),
        ({"language_model": "x.arpa", "beam_size": 0}, "beam_size=0: must be at least 1"),
    ],
)
def test_options_without_effect_are_refused(given, message, toned):
    with pytest.raises(InputError, match=message):
        load_recogniser(toned, **given)


def test_less_than_one_text_is_refused(recogniser):
    with pytest.raises(InputError, match="n_best=0: must be at least 1"):
        recogniser.transcribe(np.zeros(16_000, np.float32), n_best=0)
