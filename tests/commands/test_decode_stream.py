"""`summarymixing decode --stream`: a microphone's words, and clips chunk by chunk."""

from __future__ import annotations

import fcntl
import io
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import toned as sounds
from processes import environment, summarymixing

TEXT = sounds.sentence(12, 90)


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return sounds.spoken(TEXT, 90).waveform


class Pipe(io.BytesIO):
    """A microphone's: what is there, odd numbers of bytes too."""

    def read1(self, size: int = -1) -> bytes:
        return self.read(4_097)


@pytest.fixture
def listen(command, monkeypatch):
    """`summarymixing decode --stream` with bytes on stdin."""

    def call(content: bytes, *arguments: object, **options: bool):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Pipe(content), isatty=lambda: False))
        return command("decode", *arguments, "--stream", **options)

    return call


@pytest.fixture(scope="module")
def samples(waveform) -> bytes:
    return (waveform * 32767).astype("<i2").tobytes()


def test_microphone(toned_stream, waveform, samples, listen):
    done = listen(samples + b"x", toned_stream)
    assert done.stdout.endswith(f"{TEXT} \n") and f"{len(waveform) / 16_000:.1f} s of audio, real-time" in done.stderr


def test_ctrl_c_ends_the_audio_and_loses_no_word(toned_stream, samples, tmp_path):
    """The command itself, whose pipe stays open."""
    reading, writing = os.pipe()
    started = subprocess.Popen(
        summarymixing("decode", toned_stream, "--stream"),
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(samples)
        pipe.flush()
        said = os.read(started.stdout.fileno(), 100)  # it has begun
        while unread(reading):
            time.sleep(0.02)
        time.sleep(0.2)  # what was read is heard
        started.send_signal(signal.SIGINT)
        rest, errors = started.communicate(timeout=60)
    assert started.returncode == 0 and (said + rest).decode().endswith(f"{TEXT} \n") and b"s of audio" in errors


def unread(pipe: int) -> int:
    """Bytes that nobody has taken out of a pipe."""
    (count,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))
    return count


@pytest.mark.parametrize(
    "content, terminal, message",
    [
        (b"RIFFxxxxWAVE", False, "stdin is a wav file"),
        (b"fLaCxxxx", False, "stdin is a flac file"),
        (b"", True, "stdin is a terminal"),
        (b"", False, "no audio came on stdin"),
    ],
)
def test_no_microphone(toned_stream, command, monkeypatch, content, terminal, message):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Pipe(content), isatty=lambda: terminal))
    assert message in command("decode", toned_stream, "--stream", check=False).stderr


def test_microphone_as_json(toned_stream, samples, listen):
    done = listen(samples, toned_stream, "--format", "json", "--chunk-ms", "320")
    words = [json.loads(line) for line in done.stdout.splitlines()]
    assert " ".join(word["text"] for word in words).endswith(TEXT) and words[0]["end"] > words[0]["start"] > 0


@pytest.mark.parametrize("options", [["--results", "x"], ["--lm", "x"], ["--format", "srt"], ["--skip-bad"]])
def test_a_microphone_has_no_whole_clips(toned_stream, command, options):
    assert "needs whole clips" in command("decode", toned_stream, "--stream", *options, check=False).stderr


@pytest.mark.parametrize("options", [["--chunk-ms", "320"], ["--stream", "--precision", "bfloat16"]])
def test_options_without_effect(toned_stream, command, options):
    assert command("decode", toned_stream, "a.wav", *options, check=False).returncode == 1


def test_clips_chunk_by_chunk(toned_stream, waveform, command, tmp_path):
    soundfile.write(tmp_path / "a.wav", waveform, 16_000)
    assert TEXT in command("decode", toned_stream, "--stream", tmp_path / "a.wav").stdout  # the clip after an option
    assert "unrecognized arguments: --stem" in command("decode", toned_stream, "--stem", "x", check=False).stderr
    done = command("decode", toned_stream, tmp_path / "a.wav", "--stream", "--results", tmp_path / "out")
    assert "real-time factor" in done.stdout
    assert (tmp_path / "out" / "hypo.wrd").read_text().endswith(f"{TEXT}\n")
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["chunk_ms"] == 640
