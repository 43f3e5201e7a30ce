"""`summarymixing decode --stream`: a microphone's words, and clips chunk by chunk."""

from __future__ import annotations

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import toned as sounds

TEXT = sounds.sentence(12, 90)


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return sounds.spoken(TEXT, 90).waveform


class Pipe(io.BytesIO):
    """A microphone's: what is there, odd numbers of bytes too; ends by Ctrl-C."""

    def __init__(self, content: bytes, interrupted: bool = False):
        super().__init__(content)
        self.interrupted = interrupted

    def read1(self, size: int = -1) -> bytes:
        part = self.read(4_097)
        if not part and self.interrupted:
            raise KeyboardInterrupt
        return part


@pytest.mark.parametrize("interrupted", [False, True])
def test_microphone(toned_stream, waveform, command, monkeypatch, interrupted):
    pipe = Pipe((waveform * 32767).astype("<i2").tobytes() + b"x", interrupted)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=pipe))
    done = command("decode", toned_stream, "--stream")
    assert done.stdout.endswith(f"{TEXT} \n") and f"{len(waveform) / 16_000:.1f} s of audio, real-time" in done.stderr


def test_microphone_as_json(toned_stream, waveform, command, monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Pipe((waveform * 32767).astype("<i2").tobytes())))
    done = command("decode", toned_stream, "--stream", "--format", "json", "--chunk-ms", "320")
    words = [json.loads(line) for line in done.stdout.splitlines()]
    assert " ".join(word["label"] for word in words).endswith(TEXT) and words[0]["end"] > words[0]["start"] > 0


@pytest.mark.parametrize("options", [["--results", "x"], ["--lm", "x"], ["--format", "srt"]])
def test_a_microphone_has_no_whole_clips(toned_stream, command, options):
    assert "needs whole clips" in command("decode", toned_stream, "--stream", *options, check=False).stderr


def test_clips_chunk_by_chunk(toned_stream, waveform, command, tmp_path):
    soundfile.write(tmp_path / "a.wav", waveform, 16_000)
    assert command("decode", toned_stream, tmp_path / "a.wav", "--stream").stdout.endswith(f"{TEXT}\n")
