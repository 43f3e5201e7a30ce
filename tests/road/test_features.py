"""Audio in any form: a file, an array of any number of channels, rate and type: converted or refused, never misread."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq import load_model, load_recogniser
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture(scope="module")
def stereo() -> np.ndarray:
    """(num_samples, 2) at 44.1 kHz: two tones in one channel, a third in the other."""
    hertz = 2 * np.pi * np.arange(66_150)[:, None] / 44_100
    channels = np.concatenate([np.sin(hertz * [300, 1000]).sum(1, keepdims=True), np.sin(hertz * 2500)], 1)
    return (0.2 * channels).astype(np.float32)


@pytest.fixture
def encoder(tmp_path, tiny_model):
    model = tiny_model()
    return load_model(save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict()))


def test_a_file_and_its_array_have_the_same_frames(encoder, stereo, tmp_path):
    path = tmp_path / "a.wav"
    integers = np.round(stereo * 32_767).astype(np.int16)
    soundfile.write(path, integers, 44_100)
    frames = encoder.extract(path)
    assert torch.equal(encoder.extract(str(path)), frames)
    both = encoder.extract_batch([path, integers[:40_000]], 1, sample_rate_hz=44_100)
    torch.testing.assert_close(both[0], encoder.extract(path, 1), atol=1e-5, rtol=0)
    floats, _ = soundfile.read(path, dtype="float32")
    wide, _ = soundfile.read(path, dtype="int32")
    for array in (integers, torch.from_numpy(integers), floats, floats.astype(np.float64), wide, integers[::1]):
        torch.testing.assert_close(encoder.extract(array, sample_rate_hz=44_100), frames, atol=1e-4, rtol=0)
    average = floats.mean(1)
    torch.testing.assert_close(encoder.extract(average, sample_rate_hz=44_100), frames, atol=1e-4, rtol=0)
    torch.testing.assert_close(encoder.extract(average[:, None], sample_rate_hz=44_100), frames, atol=1e-4, rtol=0)
    with pytest.raises(InputError, match=r"none\.wav cannot be read: no such file"):
        encoder.extract(tmp_path / "none.wav")


@pytest.mark.parametrize("clips", [2, 1])
def test_a_batch_is_not_taken_for_channels(encoder, stereo, clips):
    with pytest.raises(InputError, match=r"\(num_samples,\) or \(num_samples, channels\) is needed"):
        encoder.extract(stereo.T[:clips], sample_rate_hz=44_100)


def test_transcribe_takes_stereo_too(toned):
    import toned as sounds

    recogniser = load_recogniser(toned)
    text = sounds.sentence(6, 90)
    wave = sounds.spoken(text, 90).waveform
    integers = (np.stack([wave, 0.5 * wave], 1) * 32_767).astype(np.int16)
    assert recogniser.transcribe(integers).text == recogniser.transcribe(wave).text == text
    for bad in (np.stack([wave, -wave], 1), np.where(np.arange(len(wave)) == 9, np.nan, wave), integers.astype(int)):
        with pytest.raises(InputError, match=r"^a waveform( holds|'s channels| of int64)"):
            recogniser.transcribe(bad)
