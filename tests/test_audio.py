"""Reading clips, and the one line said of those that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from summarymixing_fairseq.audio import read_segment
from summarymixing_fairseq.errors import InputError


@pytest.mark.parametrize("extension, tolerance", [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.2)])
def test_reads(tmp_path, speech, extension, tolerance):
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, speech[3], 16_000)
    samples = read_segment(path)
    assert samples.dtype == np.float32 and samples.shape == speech[3].shape
    assert np.abs(samples - speech[3]).max() < tolerance


def test_averages_channels(tmp_path):
    stereo = np.stack([np.full(500, 0.5), np.full(500, -0.25)], 1)
    soundfile.write(tmp_path / "clip.wav", stereo, 16_000, subtype="FLOAT")
    assert (read_segment(tmp_path / "clip.wav") == 0.125).all()


def test_refusals(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    (tmp_path / "text.wav").write_text("not audio")
    for name, message in [
        ("none.wav", r"none\.wav cannot be read: no such file"),
        ("text.wav", r"text\.wav cannot be read: Format not recognised"),
        ("empty.wav", r"empty\.wav holds no samples"),
        (".", r"it is a folder: name its files"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            read_segment(tmp_path / name)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "opus"])
@pytest.mark.parametrize("rate_hz", [16_000, 8_000, 48_000])
def test_a_part_is_what_the_whole_has_there(tmp_path, speech, extension, rate_hz):
    path = tmp_path / f"clip.{extension}"
    kinds = {"opus": {"format": "OGG", "subtype": "OPUS"}}
    soundfile.write(path, np.concatenate([speech[0], speech[1]]), rate_hz, **kinds.get(extension, {}))
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


def test_a_part_beyond_the_end(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(1000) + 0.1, 16_000)
    with pytest.raises(InputError, match=r"a\.wav ends 100 samples before the part at 600 of 500 does"):
        read_segment(tmp_path / "a.wav", 600, 500)
    with pytest.raises(InputError, match=r"a\.wav holds no samples"):
        read_segment(tmp_path / "a.wav", 1000, 5)


def test_a_file_that_breaks_off(tmp_path, speech):
    soundfile.write(tmp_path / "a.flac", np.tile(speech[0], 3), 16_000)
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"a\.flac (cannot be read|breaks off)"):
        read_segment(tmp_path / "a.flac")
    read_segment(tmp_path / "a.flac", 100, 2000)  # a part that is there can be read
