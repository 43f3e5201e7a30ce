"""The count of an update's memory, held to what can be counted by hand and to the count of a layer."""

from __future__ import annotations

import pytest
import torch
from pipeline import ROOT, TINY_MODEL

from summarymixing_fairseq.benchmarks import memory_cost as memory_module
from summarymixing_fairseq.benchmarks.layer_cost import layer_cost
from summarymixing_fairseq.benchmarks.memory_cost import memory_cost
from summarymixing_fairseq.benchmarks.recipe import read_recipe
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from summarymixing_fairseq.system.errors import InputError

RECIPE = ROOT / "examples/pretraining/base.yaml"
SECOND = 16_000


def cost(*overrides, clips=2, seconds=5, precision="bfloat16"):
    recipe = read_recipe(RECIPE, ["task.data=.", *overrides])
    return memory_cost(recipe, clips, seconds * SECOND, precision)


def test_weights_and_moments_are_float32():
    model = Wav2Vec2SummaryMixingModel(read_recipe(RECIPE, ["task.data=.", *TINY_MODEL]).model)
    tiny = cost(*TINY_MODEL, clips=1, seconds=1)
    assert tiny.weights == 4 * sum(parameter.numel() for parameter in model.parameters())
    assert tiny.optimizer == 2 * tiny.weights and tiny.peak == tiny.weights + tiny.optimizer + tiny.activations


@pytest.mark.parametrize("mixer", ["summarymixing", "mhsa"])
@pytest.mark.parametrize("recompute", ["none", "cheap"])
def test_a_layer_more_keeps_what_the_count_of_a_layer_says(mixer, recompute):
    overrides = [f"model.mixer={mixer}", f"model.recompute={recompute}"]
    model = read_recipe(RECIPE, ["task.data=.", *overrides]).model
    frames = 24 * 746
    few, more = (cost(*overrides, f"model.encoder_layers={layers}", clips=24, seconds=15) for layers in (1, 2))
    per_layer = more.activations - few.activations
    assert per_layer == pytest.approx(
        layer_cost(model, "bfloat16").kept_bytes_per_frame * frames, rel=0.08
    )  # and gradients


def test_activations_grow_with_the_batch_and_with_the_length():
    few = "model.encoder_layers=2"
    small = cost(few, clips=16).activations
    assert cost(few, clips=32).activations == pytest.approx(2 * small, rel=0.1)
    assert cost(few, clips=16, seconds=10).activations == pytest.approx(2 * small, rel=0.1)
    assert cost(few, clips=16, precision="float32").activations > 1.5 * small


def test_with_every_layer_recomputed_gradients_are_in_memory_at_the_end():
    tiny = cost(*TINY_MODEL, "model.recompute=layer", clips=1, seconds=1)
    assert tiny.activations > tiny.weights  # the gradients are as large as the weights


def test_a_gpu_that_is_too_small_is_a_row(monkeypatch):
    """Our trainer has turned torch's error into one that says what to do."""

    def short(*args, **kwargs):
        raise InputError("a GPU's memory is too small") from torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(memory_module, "train_step", short)
    recipe = read_recipe(RECIPE, ["task.data=.", "common.cpu=true", *TINY_MODEL])
    assert memory_module.measured_cost(recipe, 1, SECOND, "bfloat16") is None


@pytest.mark.long
def test_the_command_prints_a_table_and_plots(tmp_path, capsys):
    plot = tmp_path / "memory.png"
    arguments = "benchmark memory --sizes small --seconds 2 4 --clips 2 --recompute cheap --device cpu --plot"
    assert main([*arguments.split(), str(plot)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "counted, not measured: 2 clips, products in bfloat16, recompute cheap" in lines[0]
    assert [line.split("|")[1:5] for line in lines[3:7]][0] == [" small ", " summarymixing ", " 78.4 M ", " 2 "]
    assert len(lines) == 8 and plot.read_bytes().startswith(b"\x89PNG")


def test_bad_sizes_and_a_plot_that_is_there(tmp_path, capsys):
    assert main(["benchmark", "memory", "--clips", "0"]) == 1
    assert "--clips 0" in capsys.readouterr().err
    (tmp_path / "there.png").write_bytes(b"")
    assert main(["benchmark", "memory", "--plot", str(tmp_path / "there.png")]) == 1
    assert "there.png" in capsys.readouterr().err
