"""`summarymixing benchmark layer` and its count, held to what can be counted by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pipeline import ROOT
from torch import nn

from summarymixing_fairseq.benchmarks.layer_cost import Kernels, cuda_functions, layer_cost
from summarymixing_fairseq.benchmarks.recipe import read_recipe
from summarymixing_fairseq.commands.main import main
from summarymixing_fairseq.modules.kernels.depthwise import DepthwiseConv

RECIPE = ROOT / "examples" / "pretraining" / "base.yaml"
TINY = ["task.data=.", "model.encoder_embed_dim=16", "model.encoder_ffn_embed_dim=32"]


def on_meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta", requires_grad=True)


def test_kernels_bytes_and_kept_bytes_of_a_product_and_an_activation():
    x, weight = on_meta(10, 4), on_meta(4, 6)
    with Kernels([weight]) as count:
        y = F.gelu(x @ weight).view(5, 12)
    # the product's own traffic does not count; GELU reads and writes 60 values of 4 bytes; both results are kept
    assert (count.kernels, count.bytes, count.kept_bytes()) == (2, 2 * 240, 2 * 240)
    del y
    assert count.kept_bytes() == 0


def test_autocast_by_cudas_rules_casts_a_weight_once():
    layer = nn.Linear(4, 4, device="meta")
    with cuda_functions(torch.bfloat16), Kernels(list(layer.parameters())) as count:
        once = layer(on_meta(10, 4))
        assert (once.dtype, count.kernels) == (torch.bfloat16, 4)  # casts of x, weight and bias, and the product
        normed = F.layer_norm(layer(once), (4,))
        assert (normed.dtype, count.kernels) == (torch.float32, 7)  # product, cast to float32, norm
        with torch.autocast("meta", enabled=False):
            assert F.layer_norm(once, (4,)).dtype == torch.bfloat16
    assert count.kept_bytes() == sum(10 * 4 * size for size in (2, 2, 4, 4)) + 2 * 10 * 4  # weights left out


@pytest.mark.parametrize("dtype, copies", [(torch.bfloat16, 2), (torch.float16, 3), (torch.float32, 2)])
def test_conv1d_and_the_norm_after_it_copy_what_lies_channels_last(dtype, copies):
    conv = DepthwiseConv(8, 3).to("meta", dtype)
    norm = nn.LayerNorm(8, device="meta", dtype=dtype)
    x, counts = on_meta(2, 9, 8).to(dtype), []
    for forward in (conv.forward_plain, conv):
        with Kernels([*conv.parameters(), *norm.parameters()]) as count:
            norm(forward(x))
        counts.append(count.kernels)
    assert counts == [2 + copies, 2 + 1]  # in float16, and of images always, cuDNN adds the bias in a kernel of its own


@pytest.mark.parametrize("mixer, bytes_then", [("summarymixing", (311, 454)), ("mhsa", (239, 376))])
def test_base_under_autocast(mixer, bytes_then):
    """Against the figures of version 0.1, where frames went to float32 at every norm and back."""
    costs = {}
    for recompute in ("none", "cheap"):
        cfg = read_recipe(RECIPE, ["task.data=.", f"model.mixer={mixer}", f"model.recompute={recompute}"])
        costs[recompute] = layer_cost(cfg.model, "bfloat16")
    for now, then in zip(costs["none"].bytes_per_value, bytes_then):
        assert now < 0.72 * then
    assert costs["none"].kernels < ((42, 60) if mixer == "summarymixing" else (35, 55))
    assert costs["none"].kept_bytes_per_frame > 55_000
    # 2 bytes for each of 768 channels: residual sums (3), feed-forward modules (2 x 4), mixer, convolution (2 + 1). The
    # cell's block-diagonal layers keep nothing: its local branch's output and that of the combiner are what is left
    of_mixer = 2 if mixer == "summarymixing" else 5
    assert costs["cheap"].kept_bytes_per_frame == pytest.approx(2 * 768 * (3 + 2 * 4 + of_mixer + 3), rel=0.01)


@pytest.mark.parametrize("mode", ["lite", "expdecay"])
def test_other_forms_of_the_cell_can_be_counted(mode):
    cost = layer_cost(read_recipe(RECIPE, [*TINY, f"model.summary_mode={mode}"]).model, "float16")
    assert min(cost.kernels) > 20 and min(cost.bytes_per_value) > 100


def test_the_command_prints_the_papers_mixers(capsys, monkeypatch):
    monkeypatch.setattr("summarymixing_fairseq.benchmarks.layer_cost.PRECISIONS", ("float32",))
    assert main(["benchmark", "layer", "--config", str(RECIPE)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split()[:3] for line in lines[2:6]]
    assert rows[0] == ["summarymixing", "float32", "none"] and rows[-1] == ["mhsa", "float32", "cheap"]
    assert "132.2 kB" in lines[2] and lines[2].endswith(" ms")  # as examples/benchmarks/NOTES.md has it


def test_no_such_recipe(capsys):
    assert main(["benchmark", "layer", "--config", "nowhere.yaml"]) == 1
    assert "nowhere.yaml: no such recipe" in capsys.readouterr().err
