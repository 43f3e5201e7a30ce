"""Words while they are spoken: those of the whole recording in the same chunks, whatever the parts it comes in."""

from __future__ import annotations

import numpy as np
import pytest
import toned as sounds
import torch
from reference import assert_near

import summarymixing_fairseq
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.recogniser import load_recogniser
from summarymixing_fairseq.checkpoints.streaming import FrameStream, load_streaming_recogniser
from summarymixing_fairseq.modules.chunks import Chunks
from summarymixing_fairseq.system.errors import InputError

TEXT = sounds.sentence(12, 90)


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return sounds.spoken(TEXT, 90).waveform


def in_parts(waveform: np.ndarray, seed: int) -> list[np.ndarray]:
    random, parts, first = np.random.default_rng(seed), [], 0
    while first < len(waveform):
        size = int(random.choice([1, 100, 5_000, 40_000]))
        parts.append(waveform[first : first + size])
        first += size
    return parts


def test_words_as_they_are_spoken(toned_stream, waveform):
    assert summarymixing_fairseq.load_streaming_recogniser is load_streaming_recogniser
    whole = load_recogniser(toned_stream, streamed=True).transcribe(waveform)
    recogniser = load_streaming_recogniser(toned_stream)
    assert whole.text.endswith(TEXT)
    for seed in range(2):
        words, seconds = [], 0.0
        for part in in_parts(waveform, seed):
            seconds += len(part) / 16_000
            new = recogniser.push(part)
            # what a word, a gap of 0.3 s, two chunks and the window of a frame take
            assert all(seconds - word.end < 0.3 + 2 * 0.64 + 0.085 + 40_000 / 16_000 for word in new)
            words += new
        words += recogniser.finish()
        assert [(w.label, w.start, w.end, w.confidence) for w in words] == [
            (w.label, w.start, w.end, pytest.approx(w.confidence, abs=1e-4)) for w in whole.words
        ]
    assert recogniser.push(waveform[:0]) == [] and recogniser.finish() == []
    integers = (waveform * 32767).astype(np.int16)
    assert " ".join(word.label for word in [*recogniser.push(integers), *recogniser.finish()]) == whole.text


def test_frames_are_those_of_the_clip_in_chunks(toned_stream, waveform):
    fine_tuned = load_fine_tuned(toned_stream)
    stream = FrameStream(fine_tuned, 160)
    found = stream.whole(waveform)
    encoder = fine_tuned.encoder.model
    source = torch.from_numpy(waveform)[None]
    latents = encoder.feature_extractor(source, torch.tensor([len(waveform)])).latents
    x, _ = encoder.encoder(encoder.post_extract_proj(latents), chunks=Chunks(8, encoder.cfg.left_frames[1]))
    expected = fine_tuned.head(x)[0].log_softmax(-1)
    assert_near(torch.from_numpy(found), expected, 1e-4)
    assert len(stream.whole(waveform[:1359])) == 0 and len(stream.whole(waveform[:1360])) == 1


def test_the_decoder_keeps_the_word_that_is_not_over(toned_stream, waveform):
    recogniser = load_streaming_recogniser(toned_stream)
    for _ in range(5):
        recogniser.push(waveform)
        assert sum(map(len, recogniser._units._kept)) < 100


def test_a_chunk_of_another_length_than_in_training(toned_stream, caplog):
    FrameStream(load_fine_tuned(toned_stream), 1280)
    assert "chunks of 1280 ms: the model was trained with 160 to 640 ms" in caplog.text


@pytest.mark.parametrize(("mode", "blank"), [("add", 50.0), ("set", 3.0)])
def test_the_weight_of_the_blank_counts(toned_stream, waveform, tmp_path, mode, blank):
    """fairseq adds ``model.blank_weight`` to the scores of each pass; here the layer of scores has it."""
    state = torch.load(toned_stream, weights_only=True)
    state["cfg"]["model"].update(blank_weight=blank, blank_mode=mode)
    torch.save(state, tmp_path / "c.pt")
    before, after = (FrameStream(load_fine_tuned(path)).whole(waveform) for path in (toned_stream, tmp_path / "c.pt"))
    expected = torch.from_numpy(before).clone()  # the softmax takes scores and log-probabilities alike
    if mode == "add":
        expected[:, 0] += blank
        assert_near(torch.from_numpy(after), expected.log_softmax(1), 1e-4)
        assert (before.argmax(1) != 0).any() and (after.argmax(1) == 0).all()
    head = load_fine_tuned(tmp_path / "c.pt").head
    assert mode == "add" or (head.bias[0] == blank and not head.weight[0].any())


def test_scores_that_are_not_finite(toned_stream, waveform):
    fine_tuned = load_fine_tuned(toned_stream)
    fine_tuned.head.weight.data[0, 0] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        FrameStream(fine_tuned).whole(waveform)


def test_memory_does_not_grow(toned_stream, waveform):
    stream = FrameStream(load_fine_tuned(toned_stream))
    stream.push(waveform)
    before = [part.shape for part in stream._state]
    for _ in range(20):
        stream.push(waveform)
        assert [part.shape for part in stream._state] == before and len(stream._waiting) < 640 * 16 + 1360


@pytest.mark.parametrize("chunk_ms, message", [(0, "multiple of 20 ms"), (650, "chunks of 650 ms"), (-20, "multiple")])
def test_chunks_that_cannot_be(toned_stream, chunk_ms, message):
    with pytest.raises(InputError, match=message):
        load_streaming_recogniser(toned_stream, chunk_ms=chunk_ms)


def test_models_that_do_not_stream(toned):
    with pytest.raises(InputError, match=r"model\.streaming=true"):
        load_recogniser(toned, streamed=True)
