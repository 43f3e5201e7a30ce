"""``load_model(path).extract(wave)``: the model's own hidden states, clip by clip."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from reference import assert_near

from summarymixing_fairseq import load_model
from summarymixing_fairseq.system.errors import InputError


@pytest.fixture(params=["summarymixing", "mhsa"])
def loaded(request, tmp_path, tiny_model):
    """A model, and the encoder loaded from its checkpoint."""
    model = tiny_model(mixer=request.param)
    config = {**asdict(model.cfg), "_name": "wav2vec2_summarymixing"}
    torch.save({"cfg": {"model": config}, "model": model.state_dict()}, tmp_path / "checkpoint.pt")
    return model, load_model(str(tmp_path / "checkpoint.pt"))


def test_attributes(loaded):
    _, encoder = loaded
    assert (encoder.num_layers, encoder.state_dim, encoder.min_samples()) == (2, 32, 1_360)


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


def test_reversed_waveform(loaded, speech):
    assert torch.isfinite(loaded[1].extract(speech[3][::-1])).all()


def test_no_clip_at_all(loaded):
    assert loaded[1].extract_batch([]) == []


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
        (np.zeros(1_359), "output", r"a clip of 1359 samples gives no frame: at least 1360 are needed"),
        (np.zeros(0), "output", r"a clip of 0 samples gives no frame"),
        (np.zeros((2, 16_000)), "output", r"a waveform of shape \(2, 16000\): one dimension \(mono\) is needed"),
        (np.zeros(16_000), 3, r"layer 3: choose 0 \(encoder input\) to 2, all, or output"),
        (np.zeros(16_000), -1, r"layer -1: choose"),
        (np.zeros(16_000), "last", r"layer 'last': choose"),
    ],
)
def test_refusals(loaded, wave, layer, message):
    with pytest.raises(InputError, match=message):
        loaded[1].extract(wave, layer)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"checkpoint .*none\.pt cannot be read: No such file"):
        load_model(tmp_path / "none.pt")
    with pytest.raises(InputError, match=r"cannot be read: No such file"):
        load_model(str(tmp_path / "none.pt"), device="cpu")


def test_package_attributes():
    import summarymixing_fairseq

    assert summarymixing_fairseq.load_model is load_model
    with pytest.raises(AttributeError, match=r"has no attribute 'loadmodel'"):
        summarymixing_fairseq.loadmodel  # noqa: B018


def test_a_plain_import_imports_neither_torch_nor_fairseq():
    code = "import sys, summarymixing_fairseq; sys.exit('torch' in sys.modules or 'fairseq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_one_layers_memory_gives_the_same_states(loaded):
    """Asking for one state computes and keeps no other; what comes out is what "all" holds."""
    _, encoder = loaded
    wave = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    states = encoder.extract(wave, "all")
    for layer in range(encoder.num_layers + 1):
        torch.testing.assert_close(encoder.extract(wave, layer), states[layer], atol=1e-6, rtol=0)
