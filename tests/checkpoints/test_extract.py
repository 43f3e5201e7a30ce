"""``load_model(path).extract(wave)``: the model's own hidden states, clip by clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from encoder_checkpoints import OURS, configuration, save
from reference import assert_near

from summarymixing_fairseq import load_model
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture(params=["summarymixing", "mhsa"])
def loaded(request, tmp_path, tiny_model):
    """A model, and the encoder loaded from its checkpoint."""
    model = tiny_model(mixer=request.param)
    path = save(tmp_path / "checkpoint.pt", configuration(model, OURS), model.state_dict())
    return model, load_model(str(path))


def test_attributes(loaded):
    _, encoder = loaded
    assert (encoder.num_layers, encoder.state_dim, encoder.min_samples()) == (2, 32, 1_360)
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    assert encoder.model.objective is None


def test_extract(loaded, speech):
    model, encoder = loaded
    wave = speech[0]
    result = model.extract_features(torch.from_numpy(wave)[None], None)
    assert_near(encoder.extract(wave), result["x"][0], 1e-6)
    every = encoder.extract(wave, "all")
    assert every.shape == (3, result["x"].size(1), 32)
    for layer, state in enumerate(result["hidden_states"]):
        assert_near(encoder.extract(wave, layer), state[0], 1e-6)
        assert torch.equal(every[layer], encoder.extract(wave, layer))
    assert not encoder.extract(wave).requires_grad


def test_kinds_of_waveforms(loaded, speech):
    _, encoder = loaded
    expected = encoder.extract(speech[3])
    for wave in (
        torch.from_numpy(speech[3]),
        speech[3].astype(np.float64),
        speech[3].tolist(),
        speech[3].repeat(2)[::2],
    ):
        assert torch.equal(encoder.extract(wave), expected)
    assert torch.isfinite(encoder.extract(speech[3][::-1])).all()
    assert encoder.extract_batch([]) == []


@pytest.mark.parametrize("layer", [0, 2, "all", "output"])
def test_batch_equals_each_clip_alone(loaded, speech, layer):
    _, encoder = loaded
    for states, wave in zip(encoder.extract_batch(speech, layer), speech):
        assert_near(states, encoder.extract(wave, layer), 1e-5)


def test_shortest_clip(loaded):
    _, encoder = loaded
    assert encoder.extract(np.zeros(1_360, np.float32)).shape == (1, 32)
    assert torch.isfinite(encoder.extract(np.zeros(1_360, np.float32), "all")).all()


@pytest.mark.parametrize(
    "wave, layer, message",
    [
        (np.zeros(1_359), "output", r"a clip of 1359 samples gives no frame: wav2vec2_summarymixing needs 1360"),
        (np.zeros(0), "output", r"a clip of 0 samples gives no frame"),
        (np.zeros((2, 16_000)), "output", r"a waveform of shape \(2, 16000\): \(num_samples,\) or"),
        (np.zeros(16_000), 3, r"layer 3: choose 0 \(encoder input\) to 2, all, or output"),
        (np.zeros(16_000), -1, r"layer -1: choose"),
        (np.zeros(16_000), "last", r"layer 'last': choose"),
    ],
)
def test_refusals(loaded, wave, layer, message):
    with pytest.raises(InputError, match=message):
        loaded[1].extract(wave, layer)


def test_package_attributes():
    import summarymixing_fairseq

    assert summarymixing_fairseq.load_model is load_model
    with pytest.raises(AttributeError, match=r"has no attribute 'loadmodel'"):
        summarymixing_fairseq.loadmodel  # noqa: B018
