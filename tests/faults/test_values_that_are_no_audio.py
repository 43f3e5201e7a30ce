"""Numbers that no recording has: refused by name wherever audio comes in, as NaN is."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from encoder_checkpoints import OURS, configuration, save, save_recogniser

from summarymixing_fairseq import load_model
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.corpora.audio.audio_file import read_clip
from summarymixing_fairseq.corpora.writing.options import AudioRules
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.data.audio import read_segment
from summarymixing_fairseq.system.errors import InputError


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", [1e25, -1e25, 3e38, 150.0])
def test_a_float_file(tmp_path, speech, value, subtype, rate_hz):
    wave = speech[3].astype(np.float64)
    wave[5_000:5_100] = value
    soundfile.write(tmp_path / "a.wav", wave, rate_hz, subtype)
    with pytest.raises(InputError, match=r"a\.wav holds samples (above 100, where|that are not finite)"):
        read_segment(tmp_path / "a.wav")
    found = read_clip("a.wav", str(tmp_path), AudioRules(verify=True))
    assert isinstance(found, Refusal) and found.reason == "samples above 100, where full scale is 1"


@pytest.mark.parametrize("value", [1e300, np.nan, np.inf])
def test_values_beyond_float32(tmp_path, value):
    soundfile.write(tmp_path / "a.wav", np.full(16_000, value), 16_000, "DOUBLE")
    with pytest.raises(InputError, match=r"a\.wav holds samples that are not finite numbers"):
        read_segment(tmp_path / "a.wav")
    found = read_clip("a.wav", str(tmp_path), AudioRules(verify=True))
    assert found == Refusal("a.wav", "samples that are not finite numbers", "")


def test_two_channels_of_which_one_is_no_audio(tmp_path, speech):
    frames = np.stack([speech[3], np.full(len(speech[3]), 1e25)], 1)
    soundfile.write(tmp_path / "a.wav", frames, 16_000, "FLOAT")
    with pytest.raises(InputError, match=r"a\.wav holds samples above 100"):
        read_segment(tmp_path / "a.wav")
    frames[:, 0] = -1e25
    soundfile.write(tmp_path / "a.wav", frames, 16_000, "FLOAT")
    with pytest.raises(InputError, match=r"its channels cancel one another"):
        read_segment(tmp_path / "a.wav")


def test_loud_recordings_are_read(tmp_path, speech):
    """Peaks of a float recording may lie above full scale."""
    soundfile.write(tmp_path / "a.wav", 20 * speech[3], 16_000, "FLOAT")
    np.testing.assert_array_equal(read_segment(tmp_path / "a.wav"), 20 * speech[3])
    assert isinstance(read_clip("a.wav", str(tmp_path), AudioRules(verify=True, max_clipped=1.0)), Clip)


@pytest.mark.parametrize("command, output", [("features", "--dest"), ("decode", "--results")])
def test_what_a_model_makes_is_checked_before_it_is_written(tmp_path, tiny_model, speech, capsys, command, output):
    """Of finite audio and finite weights it may make numbers that are not."""
    model = tiny_model()
    if command == "features":
        path = save(tmp_path / "c.pt", configuration(model, OURS), model.state_dict())
    else:
        path = save_recogniser(tmp_path / "c.pt", model, "AB|", "A", {"labels": "ltr"}, {})
    state = torch.load(path, weights_only=False)
    for name, weight in state["model"].items():
        if "encoder.layer_norm." in name:
            weight.fill_(3e38)
    torch.save(state, path)
    soundfile.write(tmp_path / "a.wav", speech[3], 16_000)
    arguments = [command, path, tmp_path / "a.wav", output, tmp_path / "out", "--device", "cpu"]
    assert main([*map(str, arguments)]) == 1
    assert "are not finite numbers: leave it out if it is the only one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array(tmp_path, tiny_model, speech, dtype):
    model = tiny_model()
    encoder = load_model(save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict()))
    with pytest.raises(InputError, match=r"a waveform holds samples above 100, where full scale is 1"):
        encoder.extract(np.full(16_000, 1e25, dtype))
    with pytest.raises(InputError, match=r"a waveform holds samples above 100"):
        encoder.extract((speech[0] * 2**15).astype(dtype))  # integers, made floats without being scaled
