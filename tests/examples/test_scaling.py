"""The counts of the scaling page, compared with formulas, real modules and what autograd keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from pipeline import ROOT

from summarymixing_fairseq.benchmarks.recipe import read_recipe
from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from summarymixing_fairseq.modules.masking import draw_mask

SCRIPT = ROOT / "examples" / "benchmarks" / "scaling.py"
MIXERS = ("summarymixing", "mhsa")
PARAMETERS = {
    "small": 78_372_992,
    "small_mhsa": 83_658_368,
    "base": 154_764_416,
    "base_mhsa": 165_335_168,
    "large": 307_547_264,
    "large_mhsa": 328_688_768,
}


@pytest.fixture(scope="module")
def scaling(load_script) -> ModuleType:
    return load_script("benchmarks/scaling.py")


@pytest.fixture(scope="module", params=MIXERS)
def cost(request, scaling, tiny_config):
    return scaling.Cost(tiny_config(mixer=request.param))


def test_a_layer_costs_what_the_formulas_say(cost) -> None:
    """The page's formulas, forward and backward (twice forward), for 10 minutes: far beyond the counted lengths."""
    cfg, T = cost.cfg, cost.num_frames(600)
    D, F, K, H = cfg.encoder_embed_dim, cfg.encoder_ffn_embed_dim, cfg.depthwise_conv_kernel_size, cfg.summary_heads
    mixer = 8 * D**2 * T + 4 * D * T**2 if cfg.mixer == "mhsa" else (8 / H + 2) * D**2 * T + 2 * D**2
    expected = {"feed-forward": 8 * D * F * T, "mixer": mixer, "convolution": (6 * D**2 + 2 * K * D) * T}
    flops = cost.flops(600)
    for name, forward in expected.items():
        assert flops[name] == pytest.approx(3 * cfg.encoder_layers * forward, rel=0.001), name


def test_front_end_and_objective_cost_what_the_formulas_say(cost) -> None:
    cfg, T = cost.cfg, cost.num_frames(15)
    D, C, V, bins = cfg.encoder_embed_dim, cfg.frontend_channels, cfg.final_dim, cfg.num_mel_bins
    masked = T * (1 - (1 - cfg.mask_prob / cfg.mask_length) ** cfg.mask_length)
    # no gradient of the filterbank, and none of the first convolution's input
    mel, first, others = 2 * 201 * bins * 1498, 6 * bins * C * 748, (6 * C * C + 2 * C * D) * T
    entries = cfg.latent_vars * (C * cfg.latent_groups + V)
    objective = 3 * (2 * masked * entries + 2 * (D * V + V * V) * masked + 2 * V * masked**2)
    flops = cost.flops(15)
    assert flops["front end"] == pytest.approx(mel + 2 * first + 3 * others, rel=0.01)
    assert flops["objective"] == pytest.approx(objective, rel=0.01)


def test_frames_and_parameters_are_the_models(cost) -> None:
    model = Wav2Vec2SummaryMixingModel(cost.cfg)
    assert cost.num_parameters == sum(parameter.numel() for parameter in model.parameters())
    assert cost.num_frames(1.99) == model.feature_extractor.output_lengths(torch.tensor([31_840]))


def test_as_many_frames_are_masked_as_expected(cost) -> None:
    cfg, T = cost.cfg, cost.num_frames(15)
    for fill in (True, False):
        cfg.mask_fill = fill
        mask = draw_mask([T] * 200, T, cfg.mask_prob, cfg.mask_length, require_same_masks=False, fill=fill)
        drawn = float(mask.sum(1).float().mean())
        assert cost.flops(15)["objective"] == pytest.approx(cost.polynomials["objective"](drawn), rel=0.05)


def test_layer_drop_spares_layers_only(scaling, cost) -> None:
    flops = cost.flops(scaling.CLIP_SECONDS)
    layers = sum(flops[part] for part in scaling.LAYER)
    updates = cost.run_flops() / scaling.UPDATES / scaling.CLIPS / scaling.BATCHES / scaling.GPUS
    assert updates == pytest.approx(sum(flops.values()) - cost.cfg.encoder_layerdrop * layers)


@pytest.fixture(scope="module")
def measured(scaling, tmp_path_factory) -> dict:
    """What a measurement of two tiny models returns."""
    folder = tmp_path_factory.mktemp("recipes")
    recipe = yaml.safe_load((ROOT / "examples" / "pretraining" / "base.yaml").read_text(encoding="utf-8"))
    recipe["model"].update(encoder_layers=1, encoder_embed_dim=32, encoder_ffn_embed_dim=64, final_dim=32)
    for mixer in MIXERS:
        recipe["model"]["mixer"] = mixer
        (folder / f"{mixer}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return scaling.measure([folder / mixer for mixer in MIXERS], clips=1, seconds=2.0, repeats=2)


def test_measured_figures_are_complete(scaling, measured) -> None:
    assert list(measured["updates"]) == list(MIXERS)
    assert len(measured["flops_per_second"]) == 2
    for update in measured["updates"].values():
        assert len(update["seconds"]) == 2 and min(update["seconds"]) > 0
        assert list(update["groups"]) == list(scaling.GROUPS) and min(update["groups"].values()) > 0


@pytest.mark.long
def test_page_is_rendered(scaling, measured, tmp_path: Path, monkeypatch, capsys) -> None:
    page = tmp_path / "SCALING.md"
    monkeypatch.setattr(sys, "argv", ["scaling.py", "--from-json", "--output", str(page)])
    assert scaling.main() == 1 and "measure first" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    recorded = {**measured, "command": "python examples/benchmarks/scaling.py"}
    (tmp_path / "results" / "scaling.json").write_text(json.dumps(recorded), encoding="utf-8")
    assert scaling.main() == 0
    text = page.read_text(encoding="utf-8")
    sections = [line.partition(". ")[2] for line in text.splitlines() if line.startswith("## ")]
    assert sections == ["Operations", "Measured", "Prediction", "Clip length"]
    assert all(len(line) <= 140 or line.startswith(("|", "`")) for line in text.splitlines())
    # the paper's own week, from which the share of the peak was taken
    assert "| base | 168 |" in text
    assert all(f"| {name} | {number:,} |" in text for name, number in PARAMETERS.items())
    # attention's quadratic part exceeds all else from T = 7/2 D + 2 F + K/2, all of it from 2 F - D/2 + K/2
    assert "| base: quadratic part > all else | 8,848 |" in text and "| base: attention > all else | 5,776 |" in text
    for rows in (block.splitlines() for block in text.split("\n\n") if block.startswith("|")):
        assert len({row.count("|") for row in rows}) == 1
    committed = (SCRIPT.parent / "SCALING.md").read_text(encoding="utf-8")
    counted = [part.partition("## 1.")[2].partition("## 2.")[0] for part in (text, committed)]
    assert counted[0] == counted[1]  # what is counted is the same on every machine


def test_recipes_are_read_as_fairseq_composes_them(scaling) -> None:
    cfg = read_recipe(scaling.recipe_path("base_mhsa"), ["task.data=.", "model.encoder_layers=3"])
    assert (cfg.model.mixer, cfg.model.encoder_layers, cfg.model.num_mel_bins) == ("mhsa", 3, 80)
    assert (cfg.common.fp16, cfg.optimizer._name, cfg.optimizer.weight_decay) == (False, "fused_adamw", 0.05)


def test_help_needs_no_torch() -> None:
    done = subprocess.run([sys.executable, "-X", "importtime", str(SCRIPT), "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--from-json" in done.stdout
    assert not any(line.split("|")[-1].strip() == "torch" for line in done.stderr.splitlines())
