"""Arrays and files that are not what a model takes: converted, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from encoder_checkpoints import OURS, configuration, save

from summarymixing_fairseq import load_model
from summarymixing_fairseq.corpora.audio.audio_file import read_clip
from summarymixing_fairseq.corpora.writing.options import AudioRules
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.data.audio import as_waveform, read_segment
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture
def encoder(tmp_path, tiny_model):
    model = tiny_model()
    return load_model(save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict()))


@pytest.mark.parametrize("dtype, scale", [(np.int16, 2**15), (np.int32, 2**31)])
def test_integers_by_their_full_scale(encoder, speech, dtype, scale):
    integers = (speech[3] * scale).astype(dtype)
    expected = encoder.extract((integers / scale).astype(np.float32))
    assert torch.equal(encoder.extract(integers), expected)
    assert torch.equal(encoder.extract(torch.from_numpy(integers)), expected)
    assert torch.equal(encoder.extract_batch([integers])[0], expected)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
@pytest.mark.parametrize("cut", range(12))  # soxr itself gives a sample fewer for some lengths
def test_an_array_at_another_rate_as_its_file(tmp_path, speech, rate_hz, cut):
    wave = speech[3][: len(speech[3]) - cut]
    soundfile.write(tmp_path / "a.wav", wave, rate_hz, "FLOAT")
    np.testing.assert_allclose(as_waveform(wave, rate_hz), read_segment(tmp_path / "a.wav"), atol=1e-6)


def test_a_tensor_of_a_training(speech):
    """With a gradient; a tensor on a GPU takes the same way. What numpy has no type for is refused."""
    wave = torch.from_numpy(speech[3])
    np.testing.assert_array_equal(as_waveform(wave.clone().requires_grad_(), 16_000), speech[3])
    with pytest.raises(InputError, match="a waveform that numpy does not take: "):
        as_waveform(wave.bfloat16(), 16_000)


@pytest.mark.parametrize(
    "wave, rate_hz, message",
    [
        (np.full(16_000, np.nan), 16_000, "a waveform holds samples that are not finite numbers"),
        (np.full(16_000, -np.inf, np.float32), 16_000, "a waveform holds samples that are not finite numbers"),
        (np.ones(16_000, np.uint8), 16_000, "a waveform of uint8: give floats, full scale = 1, or int16 or int32"),
        ([1] * 16_000, 16_000, "a waveform of int64: give floats"),
        (np.ones(16_000, bool), 16_000, "a waveform of bool: give floats"),
        (np.ones(16_000, complex), 16_000, "a waveform of complex128: give floats"),
        (["a"] * 16_000, 16_000, "a waveform of <U1: give floats"),
        (np.ones((16_000, 2, 1)), 44_100, r"a waveform of shape \(16000, 2, 1\): \(num_samples,\) or"),
        (np.ones((2, 2)), 44_100, r"a waveform of shape \(2, 2\): \(num_samples,\) or"),
        (np.ones((16_000, 0)), 44_100, r"a waveform of shape \(16000, 0\): \(num_samples,\) or"),
        (
            np.stack([np.ones(16_000), np.full(16_000, np.nan)], 1),
            44_100,
            "a waveform holds samples that are not finite",
        ),
        (np.full((16_000, 2), [1.0, -1.0]), 44_100, "a waveform's channels cancel one another"),
        (np.ones(16_000), 16, "a waveform at 16 Hz: recordings have 1000 to 768000 Hz"),
    ],
)
def test_what_is_no_waveform(encoder, wave, rate_hz, message):
    with pytest.raises(InputError, match=message) as error:
        encoder.extract(wave, sample_rate_hz=rate_hz)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("channels", [2, 4])
def test_channels_that_cancel_one_another(tmp_path, speech, rate_hz, channels):
    """One inverted: the average of the channels is silence, or what their noise leaves."""
    wave = speech[0]
    noise = np.random.default_rng(7).normal(scale=1e-3, size=(len(wave), channels))
    signs = np.resize([1, -1], channels)
    soundfile.write(tmp_path / "a.flac", wave[:, None] * signs + noise, rate_hz)
    for part in ((), (1_000, 8_000)):
        with pytest.raises(InputError, match=r"a\.flac cannot be read: its channels cancel one another"):
            read_segment(tmp_path / "a.flac", *part)
    found = read_clip("a.flac", str(tmp_path), AudioRules(verify=True))
    assert found == Refusal("a.flac", "channels that cancel one another (one is inverted)", "")


@pytest.mark.parametrize(
    "of_channels",
    [
        lambda a, b: (a, a),
        lambda a, b: (a, b),  # two speakers
        lambda a, b: (a, 0 * a),
        lambda a, b: (a, *[0 * a] * 7),
        lambda a, b: (a, -0.3 * a),
        lambda a, b: (0 * a, 0 * a),
    ],
)
def test_other_channels_are_averaged(tmp_path, speech, of_channels):
    size = len(speech[3])
    frames = np.stack(of_channels(speech[3], speech[0][:size]), 1)
    soundfile.write(tmp_path / "a.wav", frames, 16_000, "FLOAT")
    np.testing.assert_allclose(read_segment(tmp_path / "a.wav"), frames.mean(1), atol=1e-6)
    if frames.any():
        assert read_clip("a.wav", str(tmp_path), AudioRules(verify=True)) == Clip("a.wav", size)
