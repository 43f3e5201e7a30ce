"""Checkpoints that version 0.1 wrote: one of each kind, read by every reader, with the numbers that it gave."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from summarymixing_fairseq import load_model
from summarymixing_fairseq.checkpoints.encoders import load_encoder
from summarymixing_fairseq.checkpoints.fine_tuned import load_fine_tuned
from summarymixing_fairseq.checkpoints.untrusted_file import load_safely
from summarymixing_fairseq.models.config import Wav2Vec2SummaryMixingConfig
from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from summarymixing_fairseq.probing.checkpoint import load_probe

FOLDER = Path(__file__).parent / "of_version_0_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
ENCODERS = ["pretrained.pt", "attention.pt", "lite.pt", "fine_tuned.pt", "exported.safetensors"]


@pytest.fixture(scope="module")
def wave() -> np.ndarray:
    """1.5 s of two tones, the same on every machine."""
    t = np.arange(24_000) / 16_000
    tones = 0.3 * np.sin(2 * np.pi * 220 * t) * (1 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return (tones + 0.1 * np.sin(2 * np.pi * 1500 * t * t)).astype(np.float32)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(wave, name):
    frames = load_model(FOLDER / name).extract(wave)
    found = [frames.mean().item(), frames.std().item(), frames[0, 0].item(), frames[-1, -1].item()]
    assert found == pytest.approx(EXPECTED[name], abs=2e-4)
    assert load_encoder(FOLDER / name).num_states == 3  # as a probe's


def test_fine_tuned(wave):
    log_probs = load_fine_tuned(FOLDER / "fine_tuned.pt")(torch.from_numpy(wave)[None]).log_softmax(-1)
    found = [log_probs.mean().item(), log_probs[0, 0, 0].item(), log_probs[-1, 0, -1].item()]
    assert found == pytest.approx(EXPECTED["fine_tuned.pt log_probs"], abs=2e-4)


def test_probe(wave):
    scores = load_probe(FOLDER / "probe.pt").model(torch.from_numpy(wave)[None])["scores"][0]
    assert scores.tolist() == pytest.approx(EXPECTED["probe.pt"], abs=2e-4)


def test_pretraining_goes_on_from_it():
    """Weights by their old names, and parameters in the order that the optimizer's state goes by."""
    state = load_safely(FOLDER / "pretrained.pt")
    known = Wav2Vec2SummaryMixingConfig.__dataclass_fields__
    config = {name: value for name, value in state["cfg"]["model"].items() if name in known}
    model = Wav2Vec2SummaryMixingModel(Wav2Vec2SummaryMixingConfig(**config))
    old_shapes = [tuple(weight.shape) for weight in state["model"].values()]
    model.load_state_dict(dict(state["model"]), strict=True)
    assert "quantizer.vars" in state["model"]
    moments = state["last_optimizer_state"]["state"]
    shapes = [tuple(p.shape) for p in model.parameters() if p.requires_grad]
    assert [tuple(moments[index]["exp_avg"].shape) for index in sorted(moments)] == shapes
    assert sorted(map(tuple, old_shapes)) == sorted(tuple(v.shape) for v in model.state_dict().values())
