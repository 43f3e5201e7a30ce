"""The counts of the scaling page, held to what torch counts, stores and draws on the real modules."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml
from pipeline import ROOT
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from summarymixing_fairseq.models.wav2vec2_summarymixing import (
    Wav2Vec2SummaryMixingModel,
    build_encoder,
    build_frontend,
)
from summarymixing_fairseq.modules.masking import draw_mask

SCRIPT = ROOT / "examples" / "benchmarks" / "scaling.py"
MIXERS = ("summarymixing", "mhsa")
UNSEEN = ("Fourier transform",)  # no matrix product or convolution of torch's
PARAMETERS = {
    "small": 78_372_992,
    "small_mhsa": 83_658_368,
    "base": 154_764_416,
    "base_mhsa": 165_335_168,
    "large": 307_547_264,
    "large_mhsa": 328_688_768,
}


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convolution_backward_flops(grad, x, weight, *args, out_shape, **_) -> int:
    """Both gradients. torch's own formula leaves the groups out of the filter's, D times too many if depthwise."""
    transposed, (groups, output_mask) = args[4], args[6:8]
    assert not transposed
    forward = conv_flop_count(x, weight, grad)
    assert groups == weight[0] or groups == 1
    return forward * sum(output_mask[:2])


def count_flops(run: Callable[[], object]) -> int:
    """What torch counts: with attention as plain products, as the fused kernel of a CPU has no formula."""
    # torch knows addmm, and not its form in place
    mapping = {
        torch.ops.aten.convolution_backward: convolution_backward_flops,
        torch.ops.aten.addmm_: lambda _, a, b, **others: 2 * a[0] * a[1] * b[1],
    }
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("fast", (True, False))
@pytest.mark.parametrize("mixer", MIXERS)
def test_layer_flops_are_those_torch_counts(scaling, tiny_config, mixer, fast) -> None:
    cfg = tiny_config(mixer=mixer, encoder_layers=1, fast_kernels=fast)
    layer = build_encoder(cfg).layers[0]
    B, T = 2, 150
    x = torch.randn(B, T, cfg.encoder_embed_dim, requires_grad=True)
    forward = B * sum(scaling.encoder_layer_flops(*scaling.layer_sizes(cfg), T).values())
    assert count_flops(lambda: layer(x)) == pytest.approx(forward, rel=0.01)
    assert count_flops(lambda: layer(x).sum().backward()) == pytest.approx(3 * forward, rel=0.01)


@pytest.mark.parametrize("mixer", MIXERS)
def test_clip_flops_are_those_torch_counts(scaling, tiny_config, mixer) -> None:
    cfg = tiny_config(mixer=mixer)
    model = Wav2Vec2SummaryMixingModel(cfg)
    B, num_samples = 2, 48_000
    mask = torch.zeros(B, scaling.frame_counts(num_samples)[2], dtype=torch.bool)
    mask[:, 20:90] = True
    source = torch.randn(B, num_samples)

    def update() -> None:
        logits = model.get_logits(model(source, mask_indices=mask))
        torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long)).backward()

    passes = [v for name, v in scaling.clip_flops(cfg, num_samples, 70).items() if name not in UNSEEN]
    forward, backward = (B * sum(column) for column in zip(*passes))
    assert count_flops(lambda: model(source, mask_indices=mask)) == pytest.approx(forward, rel=0.01)
    assert count_flops(update) == pytest.approx(forward + backward, rel=0.01)


@pytest.mark.parametrize("num_samples", (1_200, 16_000, 31_999, 240_000))
def test_frame_counts_are_the_extractors(scaling, tiny_config, num_samples) -> None:
    frontend = build_frontend(tiny_config())
    samples = torch.tensor([num_samples])
    windows, _, frames = scaling.frame_counts(num_samples)
    assert (windows, frames) == (frontend.filterbank.output_lengths(samples), frontend.output_lengths(samples))


def test_as_many_frames_are_masked_as_expected(scaling, tiny_config) -> None:
    cfg = tiny_config()
    drawn = draw_mask([746] * 200, 746, cfg.mask_prob, cfg.mask_length, require_same_masks=False).sum(1).float().mean()
    masked = scaling.clip_flops(cfg, 240_000)["quantizer"][0] / scaling.clip_flops(cfg, 240_000, 1)["quantizer"][0]
    assert masked == pytest.approx(float(drawn), rel=0.03)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_recipes(scaling, name) -> None:
    assert scaling.parameter_count(scaling.read_model(name)) == PARAMETERS[name]


@pytest.mark.parametrize("mixer", MIXERS)
def test_parameters_of_a_real_model(scaling, tiny_config, mixer) -> None:
    cfg = tiny_config(mixer=mixer)
    model = Wav2Vec2SummaryMixingModel(cfg)
    assert scaling.parameter_count(cfg) == sum(parameter.numel() for parameter in model.parameters())


def stored_bytes(layer: torch.nn.Module, x: torch.Tensor) -> int:
    """Bytes of all that autograd keeps of a forward pass, other than parameters and the input."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = layer(x)
    total = sum(storage.nbytes() for storage in kept.values())
    del y
    return total


@pytest.mark.parametrize("fast", (True, False))
@pytest.mark.parametrize("mixer", MIXERS)
def test_activations_are_those_autograd_keeps(scaling, tiny_config, mixer, fast) -> None:
    # torch's own dropout keeps floats on a CPU, where a GPU keeps bytes; and attention with dropout is not fused there
    p = 0.1 if fast else 0.0
    dropouts = {"dropout": p, "activation_dropout": p, "attention_dropout": 0.0 if mixer == "mhsa" else p}
    cfg = tiny_config(mixer=mixer, fast_kernels=fast, **dropouts)
    layer = build_encoder(cfg).layers[0].train()
    D, F = cfg.encoder_embed_dim, cfg.encoder_ffn_embed_dim
    masks = 0 if fast else 2 * F + 3 * D + (D if mixer == "summarymixing" else 0)
    B, T = 2, 400
    stored = stored_bytes(layer, torch.randn(B, T, D, requires_grad=True)) / (B * T)
    assert stored + masks == pytest.approx(scaling.kept_bytes(*scaling.layer_sizes(cfg), again=fast), rel=0.01)


def test_unfused_attention_keeps_its_weights(scaling, tiny_config) -> None:
    cfg = tiny_config(mixer="mhsa", attention_dropout=0.1, dropout=0.1, activation_dropout=0.1)
    layer = build_encoder(cfg).layers[0].train()
    T = 400
    stored = stored_bytes(layer, torch.randn(1, T, cfg.encoder_embed_dim, requires_grad=True)) / T
    assert stored > scaling.kept_bytes(*scaling.layer_sizes(cfg), again=True) + 9 * cfg.encoder_attention_heads * T


def test_crossings_are_where_the_counts_cross(scaling) -> None:
    cfg = scaling.read_model("base_mhsa")
    sizes = scaling.layer_sizes(cfg)
    quadratic, whole = scaling.crossing_frames(cfg)
    layer = scaling.encoder_layer_flops(*sizes, quadratic)
    assert 2 * 4 * sizes[0] * quadratic**2 == pytest.approx(sum(layer.values()))
    layer = scaling.encoder_layer_flops(*sizes, whole)
    assert layer["mixer"] == pytest.approx(layer["feed-forward"] + layer["convolution"])


def test_layer_drop_spares_layers_only(scaling) -> None:
    cfg = scaling.read_model("base")
    flops = scaling.update_flops(cfg)
    layers = sum(flops[part] for part in scaling.LAYER)
    assert scaling.run_flops(cfg) / scaling.UPDATES == pytest.approx(sum(flops.values()) - 0.05 * layers)


@pytest.mark.parametrize(
    ("scopes", "group"),
    (
        ([("aten::addmm", [[64], [9, 32]]), ("aten::linear", [])], "matrix products"),
        ([("aten::mkldnn_convolution", [[2, 80, 298], [24, 80, 3]])], "matrix products"),
        ([("aten::mkldnn_convolution", [[2, 32, 1, 9], [32, 1, 1, 7]])], "depthwise convolution"),
        ([("aten::sum", [[2, 9, 32]]), ("_ChannelsLastDepthwiseBackward", [])], "depthwise convolution"),
        ([("aten::native_layer_norm", [[2, 9, 32]])], "elementwise, norms, dropout, copies"),
        ([("_MaskedScaleBackward", [])], "elementwise, norms, dropout, copies"),
        ([("aten::mul_", [[9]]), ("multiply-grads", [])], "optimizer"),
        ([("aten::_fft_r2c", [[2, 9, 400]])], "rest"),
        ([("AddmmBackward0", [])], "rest"),
    ),
)
def test_operations_are_grouped(scaling, scopes, group) -> None:
    assert scaling.group_of(scopes) == group


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


def test_measured_figures_are_complete(measured) -> None:
    assert list(measured["updates"]) == list(MIXERS)
    assert len(measured["flops_per_second"]) == len(measured["bytes_per_second"]) == 2
    for update in measured["updates"].values():
        assert len(update["seconds"]) == 2 and min(update["seconds"]) > 0
        assert min(update["groups"].values()) > 0
        assert len(update["top"]) == 8


def test_page_is_rendered_from_the_json(measured, tmp_path: Path) -> None:
    page = tmp_path / "SCALING.md"
    command = [sys.executable, str(SCRIPT), "--from-json", "--output", str(page)]
    failed = subprocess.run(command, capture_output=True, text=True)
    assert failed.returncode == 1 and "measure first" in failed.stderr
    (tmp_path / "results").mkdir()
    recorded = {**measured, "command": "python examples/benchmarks/scaling.py"}
    (tmp_path / "results" / "scaling.json").write_text(json.dumps(recorded), encoding="utf-8")
    subprocess.run(command, check=True)
    text = page.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## 1. Operations",
        "## 2. Bytes",
        "## 3. Measured",
        "## 4. Prediction",
        "## 5. Clip length",
    ]
    for line in text.splitlines():
        assert len(line) <= 140 or line.startswith(("|", "`"))
    # the paper's own week, from which the share of the peak was taken
    assert "| base | 168 |" in text and "154,764,416" in text
    for rows in (block.splitlines() for block in text.split("\n\n") if block.startswith("|")):
        assert len({row.count("|") for row in rows}) == 1


def test_help_needs_no_torch() -> None:
    code = (
        f"import runpy, sys; sys.argv = ['scaling.py', '--help']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    watched = f"import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); {code}"
    done = subprocess.run([sys.executable, "-c", watched], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.endswith("False\n")
