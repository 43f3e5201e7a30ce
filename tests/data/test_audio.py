"""Reading clips, and the one line said of those that cannot be read."""

from __future__ import annotations

import os
import tracemalloc

import numpy as np
import pytest
import soundfile

from summarymixing_fairseq.data.audio import AudioHeader, read_header, read_segment
from summarymixing_fairseq.data.manifest import Clip
from summarymixing_fairseq.data.reading import read_in_batches
from summarymixing_fairseq.system.errors import InputError

KINDS = {"opus": {"format": "OGG", "subtype": "OPUS"}}  # by extension, where that does not say it


def test_header(tmp_path):
    soundfile.write(tmp_path / "clip.wav", np.zeros((500, 2)), 8_000)
    assert read_header(tmp_path / "clip.wav") == AudioHeader(num_frames=500, sample_rate_hz=8_000)
    with pytest.raises(FileNotFoundError):
        read_header(tmp_path / "none.wav")


@pytest.mark.parametrize(
    "name, part, message",
    [
        ("none.wav", (), r"none\.wav cannot be read: no such file"),
        ("text.wav", (), r"text\.wav cannot be read: Format not recognised"),
        ("empty.wav", (), r"empty\.wav holds no samples"),
        ("a.raw", (), r"a\.raw cannot be read"),
        (".", (), r"it is a folder: name its files"),
        ("a.wav", (600, 500), r"a\.wav ends 100 samples before the part at 600 of 500 does"),
        ("a.wav", (1000, 5), r"a\.wav holds no samples"),
        ("a.wav", (-1, 5), r"there is no part at -1 of"),
        ("a.wav", (0, -5), r"there is no part at 0 of"),
        ("a.wav", (-5, None), r"there is no part at -5 of"),
    ],
)
def test_refusals(tmp_path, name, part, message):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000) + 0.1, 16_000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    (tmp_path / "text.wav").write_text("not audio")
    (tmp_path / "a.raw").write_bytes(b"\0" * 100)
    with pytest.raises(InputError, match=message) as error:
        read_segment(tmp_path / name, *part)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "opus"])
@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 48_000])
def test_a_part_is_what_the_whole_has_there(tmp_path, speech, extension, rate_hz):
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, np.concatenate([speech[0], speech[1]]), rate_hz, **KINDS.get(extension, {}))
    whole = read_segment(path)
    for offset, num_samples in [(0, 1000), (1, 7), (12_345, 5000), (len(whole) - 300, 300)]:
        part = read_segment(path, offset, num_samples)
        assert part.dtype == np.float32 and part.shape == (num_samples,)
        np.testing.assert_allclose(part, whole[offset : offset + num_samples], atol=1e-4)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000])
def test_resampled_sine(tmp_path, rate_hz):
    num_frames = rate_hz * 2 + 17
    soundfile.write(
        tmp_path / "a.wav", 0.5 * np.sin(2 * np.pi * 440 * np.arange(num_frames) / rate_hz), rate_hz, "FLOAT"
    )
    samples = read_segment(tmp_path / "a.wav")
    assert len(samples) == -(-num_frames * 16_000 // rate_hz)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(samples)) / 16_000)
    assert np.abs(samples - expected)[800:-800].max() < 1e-3


def test_a_file_that_breaks_off(tmp_path, speech):
    soundfile.write(tmp_path / "a.flac", np.tile(speech[0], 3), 16_000)
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.flac (cannot be read|breaks off)"):
        read_segment(tmp_path / "a.flac")
    read_segment(tmp_path / "a.flac", 100, 2000)  # a part that is there can be read


def test_a_header_that_promises_too_much_costs_nothing(tmp_path, speech):
    """2^36 samples in 4 kB: 256 GiB, if it were believed."""
    path = tmp_path / "a.flac"
    soundfile.write(path, speech[3][:8000], 16_000)
    content = bytearray(path.read_bytes())
    # STREAMINFO: the number of samples is the last 36 bits of these 8 bytes
    content[18:26] = (int.from_bytes(content[18:26], "big") | (2**36 - 1)).to_bytes(8, "big")
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.flac (breaks off|cannot be read)"):
        read_segment(path)
    for offset in (0, 100, 2**36 - 5):
        with pytest.raises(InputError):
            read_segment(path, offset, 2**35)
    assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    tracemalloc.stop()
    assert len(read_segment(path, 100, 2000)) == 2000


@pytest.mark.parametrize("channels", [1, 2, 8])
@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "opus"])
def test_blocks_give_what_one_read_gives(tmp_path, speech, extension, channels, monkeypatch):
    """To the bit, mp3 too, which loses bits at every seek."""
    if extension == "mp3" and channels > 2:
        pytest.skip("mp3 has two channels at most")
    path = tmp_path / f"clip.{extension}"
    samples = np.stack([speech[0] / (1 + i) for i in range(channels)], 1)
    soundfile.write(path, samples, 16_000, **KINDS.get(extension, {}))
    at_once = soundfile.read(path, dtype="float32", always_2d=True)[0].mean(1)
    whole, part = read_segment(path), read_segment(path, 20_000, 5_000)
    monkeypatch.setattr("summarymixing_fairseq.data.audio._BLOCK_VALUES", 1_000 * channels)
    np.testing.assert_allclose(read_segment(path), at_once, atol=1e-6)
    assert whole.dtype == np.float32
    assert np.array_equal(read_segment(path), whole)
    assert np.array_equal(read_segment(path, 20_000, 5_000), part)


@pytest.mark.parametrize("rate_hz", [1, 999, 768_001, 2**31 - 1])
def test_rates_that_no_recording_has(tmp_path, rate_hz):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16_000, "PCM_U8")
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = rate_hz.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InputError, match=rf"its header says {rate_hz} Hz, recordings have 1000 to 768000"):
        read_segment(tmp_path / "a.wav")


def test_a_file_that_decodes_to_out_of_proportion_is_refused(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "silence.flac", np.zeros(400_000), 8_000)  # half a kilobyte to 50 s
    assert len(read_segment(tmp_path / "silence.flac")) == 800_000
    monkeypatch.setattr("summarymixing_fairseq.data.audio._MOST_SAMPLES_OF_ANY_FILE", 0)
    monkeypatch.setattr("summarymixing_fairseq.data.audio._MOST_SAMPLES_PER_BYTE", 100)
    with pytest.raises(InputError, match=r"silence\.flac .* decodes to more than 100 samples for each of its bytes"):
        read_segment(tmp_path / "silence.flac")


def test_what_is_no_file_does_not_hang(tmp_path):
    """A pipe without a writer would wait for one, a device would never end."""
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "zeros.wav").symlink_to("/dev/zero")
    for name in ("pipe.wav", "zeros.wav"):
        for read in (read_segment, lambda path: list(read_in_batches([Clip(path, "a")], 10))):
            with pytest.raises(InputError, match=rf"{name} cannot be read: it is a pipe or a device"):
                read(tmp_path / name)
        with pytest.raises(OSError, match="it is a pipe or a device"):
            read_header(tmp_path / name)


@pytest.mark.parametrize("error", [MemoryError(), OverflowError("too large"), ValueError("bad")])
def test_whatever_decoding_raises_is_told_in_a_line(tmp_path, error, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.zeros(100) + 0.1, 16_000)

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(soundfile.SoundFile, "read", fail)
    with pytest.raises(InputError, match=rf"a\.wav cannot be read: {str(error) or 'memory'}"):
        read_segment(tmp_path / "a.wav")
