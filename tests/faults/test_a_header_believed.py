"""Files that hold more or less audio than their header says: libsndfile does not tell, so they are refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from summarymixing_fairseq.corpora.audio.audio_file import read_clip
from summarymixing_fairseq.corpora.writing.options import AudioRules
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.data.audio import read_segment
from summarymixing_fairseq.data.manifest import Clip as Row
from summarymixing_fairseq.data.manifest_check import read_file
from summarymixing_fairseq.system.errors import InputError

MP3 = {"format": "MP3", "subtype": "MPEG_LAYER_III"}
KINDS = {
    "mp3": MP3,
    "variable.mp3": {**MP3, "bitrate_mode": "VARIABLE"},
    "flac": {"format": "FLAC"},
    "ogg": {"format": "OGG", "subtype": "VORBIS"},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "wav": {"format": "WAV"},
    "rf64": {"format": "RF64"},
    "aiff": {"format": "AIFF"},
    "au": {"format": "AU"},
    "caf": {"format": "CAF"},
    "w64": {"format": "W64"},
}
CHUNKED = ("wav", "rf64", "aiff", "au", "caf", "w64")


def encoded(wave: np.ndarray, kind: str, rate_hz: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, **KINDS[kind])
    return file.getvalue()


def without_xing(content: bytes) -> bytes:
    """An mp3 file without its first frame, which says how many follow."""
    return content[content.index(content[:2], 4) :]


def assert_refused(path) -> None:
    with pytest.raises(InputError, match=r"(beyond what its header says|truncated|cannot be read)") as error:
        read_segment(path)
    assert "\n" not in str(error.value)
    for verify in (True, False) if path.suffix != ".flac" else (True,):
        assert isinstance(read_clip(path.name, str(path.parent), AudioRules(verify=verify)), Refusal)
        assert isinstance(read_file(Row(path, path.name)), str) or verify


def assert_taken(path) -> None:
    clip = read_clip(path.name, str(path.parent), AudioRules(verify=True, max_clipped=1.0))
    assert isinstance(clip, Clip) and len(read_segment(path)) == clip.num_samples
    assert not isinstance(read_file(Row(path, path.name)), str)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000])
@pytest.mark.parametrize("kind", KINDS)
def test_two_files_joined(tmp_path, speech, kind, rate_hz):
    path = tmp_path / f"a.{kind}"
    first, second = encoded(speech[0], kind, rate_hz), encoded(speech[3], kind, rate_hz)
    path.write_bytes(first)
    assert_taken(path)
    path.write_bytes(first + second)
    assert_refused(path)


@pytest.mark.parametrize("num_bytes", [-40_000, -2_000, -200])
@pytest.mark.parametrize("kind", [*CHUNKED, "ogg", "opus"])
def test_a_file_cut_short(tmp_path, speech, kind, num_bytes):
    """Of all these formats libsndfile takes what is there for the whole."""
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(np.tile(speech[0], 3), kind)[:num_bytes])
    assert_refused(path)


@pytest.mark.parametrize("tag", [b"ID3\x04\0\0\0\0\x02\x01" + b"\xff\xfb\x90\0" * 64 + b"\0", b""])
def test_mp3_of_variable_bitrate_without_its_xing_frame(tmp_path, speech, tag):
    """Half silence, half speech: the bitrate of the first frames says nothing of the others."""
    wave = np.concatenate([np.zeros(160_000, np.float32), np.tile(speech[0], 4)])
    whole = encoded(wave, "variable.mp3")
    path = tmp_path / "a.mp3"
    path.write_bytes(tag + whole)
    assert_taken(path)
    for content in (without_xing(whole), without_xing(encoded(wave[::-1], "variable.mp3"))):
        path.write_bytes(tag + content)
        found = read_clip("a.mp3", str(tmp_path), AudioRules(verify=True))
        try:
            num_samples = len(read_segment(path))
        except InputError:
            assert isinstance(found, Refusal)
        else:  # what is taken is whole
            assert abs(num_samples - len(wave)) < 6 * 1152 and found == Clip("a.mp3", num_samples)


@pytest.mark.parametrize("kind", [kind for kind in CHUNKED if kind not in ("rf64", "w64")])
@pytest.mark.parametrize("num_bytes", [0, 2_000])
def test_a_header_that_was_not_finished(tmp_path, speech, kind, num_bytes):
    """As a recorder leaves it that writes the length every now and then."""
    content = bytearray(encoded(speech[0], kind))
    layout, position = {
        "wav": ("<I", content.find(b"data") + 4),
        "aiff": (">I", content.find(b"SSND") + 4),
        "au": (">I", 8),
        "caf": (">q", content.find(b"data") + 4),
    }[kind]
    struct.pack_into(layout, content, position, num_bytes)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    assert_refused(path)


@pytest.mark.parametrize("rate_hz, channels", [(8_000, 1), (16_000, 2), (44_100, 1)])
def test_flac_with_more_frames_than_its_header_says(tmp_path, speech, rate_hz, channels):
    """The total of samples, 36 bits of the stream's description, as of one cut out of a longer file."""
    file = io.BytesIO()
    wave = np.tile(speech[0], 3)
    soundfile.write(file, np.stack([wave] * channels, 1), rate_hz, format="FLAC")
    content = bytearray(file.getvalue())
    path = tmp_path / "a.flac"
    path.write_bytes(content)
    assert_taken(path)
    kept = content[21]
    for num_samples in (1_000, len(wave) // 2, len(wave) - 4_608):
        content[21] = kept & 0xF0
        content[22:26] = num_samples.to_bytes(4, "big")
        path.write_bytes(content)
        assert_refused(path)


def test_a_stream_without_a_length(tmp_path, speech):
    content = bytearray(encoded(speech[0], "wav"))
    struct.pack_into("<I", content, content.find(b"data") + 4, 2**32 - 1)
    (tmp_path / "a.wav").write_bytes(content)
    assert_taken(tmp_path / "a.wav")
    assert len(read_segment(tmp_path / "a.wav")) == len(speech[0])


@pytest.mark.parametrize(
    "trailing",
    [
        b"LIST" + struct.pack("<I", 20_000) + bytes(range(200)) * 100,
        b"id3 " + struct.pack("<I", 9_999) + bytes(range(101)) * 99 + b"\0",
        b"TAG" + b"x" * 125,
        bytes(65_536),
    ],
)
def test_what_may_follow_the_audio(tmp_path, speech, trailing):
    (tmp_path / "a.wav").write_bytes(encoded(speech[0], "wav") + trailing)
    assert_taken(tmp_path / "a.wav")
    if trailing.startswith((b"TAG", b"\0")):
        for kind in ("mp3", "flac"):
            path = tmp_path / f"a.{kind}"
            path.write_bytes(encoded(speech[0], kind) + trailing)
            assert_taken(path)


def test_from_an_open_file(speech):
    """As out of a stored zip."""
    stored = io.BytesIO(encoded(speech[0], "mp3") * 2)
    with pytest.raises(InputError, match="beyond what its header says"):
        read_segment(stored)
    assert len(read_segment(io.BytesIO(encoded(speech[0], "mp3")))) == len(speech[0])
