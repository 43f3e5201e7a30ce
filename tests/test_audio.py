"""Reading clips, and the one line said of those that cannot be read."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from summarymixing_fairseq.audio import read_audio
from summarymixing_fairseq.errors import InputError


@pytest.mark.parametrize("extension, tolerance", [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.2)])
def test_reads(tmp_path, speech, extension, tolerance):
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, speech[3], 16_000)
    samples = read_audio(path)
    assert samples.dtype == np.float32 and samples.shape == speech[3].shape
    assert np.abs(samples - speech[3]).max() < tolerance


def test_averages_channels(tmp_path):
    stereo = np.stack([np.full(500, 0.5), np.full(500, -0.25)], 1)
    soundfile.write(tmp_path / "clip.wav", stereo, 16_000, subtype="FLOAT")
    assert (read_audio(tmp_path / "clip.wav") == 0.125).all()


def test_refusals(tmp_path):
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 8_000)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 16_000)
    (tmp_path / "text.wav").write_text("not audio")
    for name, message in [
        ("none.wav", r"none\.wav cannot be read: no such file"),
        ("text.wav", r"text\.wav cannot be read: Format not recognised"),
        ("slow.wav", r"slow\.wav is at 8000 Hz, the model at 16000: resample it first"),
        ("empty.wav", r"empty\.wav holds no samples"),
        (".", r"is a folder: name its files"),
    ]:
        with pytest.raises(InputError, match=message) as error:
            read_audio(tmp_path / name)
        assert "\n" not in str(error.value)
