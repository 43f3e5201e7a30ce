"""Autocast: frames keep its dtype through the layers, on a CPU as by CUDA's rules, and follow the float64 formulas."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from reference import assert_near, conformer_layer, padding_of, randomise, self_attention, summary_mixing
from torch import nn

from summarymixing_fairseq.benchmarks.layer_cost import cuda_functions
from summarymixing_fairseq.modules.conformer import RECOMPUTE, ConformerEncoder, ConformerLayer
from summarymixing_fairseq.modules.mixing import build_mixer
from summarymixing_fairseq.modules.precision import LayerNorm, cast, weights_cast

MIXERS = {"summarymixing": summary_mixing, "mhsa": partial(self_attention, num_heads=2)}
# Largest error of outputs and gradients as a share of the largest value: a few roundings of the dtype, 2^-9 and 2^-12.
HALVES = [pytest.param(torch.bfloat16, 4e-2, id="bfloat16"), pytest.param(torch.float16, 5e-3, id="float16")]
in_half = pytest.mark.parametrize("dtype, tolerance", HALVES)


def build_layer(mixer: str, recompute: str = "none") -> ConformerLayer:
    return ConformerLayer(build_mixer(mixer, embed_dim=8, num_heads=2, dropout=0.0), 8, 20, 5, 0.0, 0.0, recompute)


@in_half
@pytest.mark.parametrize("mixer", MIXERS)
def test_a_layer_follows_the_formulas_in_float64(mixer, dtype, tolerance):
    torch.manual_seed(0)
    layer, lengths = randomise(build_layer(mixer)), [9, 4]
    x, padding = torch.randn(2, 9, 8).to(dtype).requires_grad_(), padding_of(lengths)
    direction = torch.randn(2, 9, 8).masked_fill(padding[..., None], 0.0)
    with torch.autocast("cpu", dtype):
        y = layer(x, padding)
    assert y.dtype == dtype
    names, weights = zip(*layer.named_parameters())
    gradients = torch.autograd.grad((y.float() * direction).sum(), [x, *weights])

    p = {name: weight.detach().double().requires_grad_() for name, weight in zip(names, weights)}
    z, total = x.detach().double().requires_grad_(), 0.0
    for b, length in enumerate(lengths):
        expected = conformer_layer(p, z[b, :length], MIXERS[mixer])
        assert_near(y[b, :length], expected, tolerance, "output")
        total = total + (expected * direction[b, :length].double()).sum()
    for name, actual, expected in zip(["x", *names], gradients, torch.autograd.grad(total, [z, *p.values()])):
        assert actual.dtype == (dtype if name == "x" else torch.float32)
        assert_near(actual, expected, 3 * tolerance, name)


@in_half
def test_what_comes_out_of_the_encoder_is_float32(dtype, tolerance):
    encoder = ConformerEncoder(partial(build_layer, "summarymixing"), 2, 8).eval()
    x = torch.randn(2, 9, 8)
    plain, plain_states = encoder(x)
    with torch.autocast("cpu", dtype):
        y, states = encoder(x.to(dtype))
        early, _ = encoder(x, last_layer=0)
    assert {tensor.dtype for tensor in [y, early, *states]} == {torch.float32}
    for actual, expected in zip([y, *states], [plain, *plain_states]):
        assert_near(actual, expected, tolerance)


@pytest.mark.parametrize("recompute", RECOMPUTE)
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_layer_gets_and_gives_half_precision_by_cudas_rules(mixer, recompute, dtype):
    """On tensors without data. CUDA's autocast would take LayerNorm to float32, and the residual sums with it."""
    with torch.device("meta"):
        encoder = ConformerEncoder(partial(build_layer, mixer, recompute), 3, 8).train()
        x = torch.empty(2, 9, 8, requires_grad=True)
    seen = []
    for module in encoder.modules():
        if isinstance(module, (ConformerLayer, LayerNorm)) and module is not encoder.layer_norm:
            module.register_forward_hook(lambda module, inputs, y: seen.extend([inputs[0].dtype, y.dtype]))
    with cuda_functions(dtype):
        y, _ = encoder(x)
    assert set(seen) == {dtype} and y.dtype == torch.float32


def test_cast_together_gives_what_casts_alone_give():
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[1].bias.requires_grad_(False)
    with weights_cast(module, torch.bfloat16):
        together = {name: cast(weight, torch.bfloat16) for name, weight in module.named_parameters()}
        assert cast(module[0].weight, torch.float16).dtype == torch.float16
        assert cast(module[0].weight, torch.bfloat16) is together["0.weight"]
    assert cast(module[0].weight, torch.bfloat16) is not together["0.weight"]  # afterwards each is cast alone
    for name, weight in module.named_parameters():
        assert torch.equal(together[name], weight.to(torch.bfloat16))
    (together["0.weight"] * 3).sum().backward()  # no other cast has a gradient
    assert torch.equal(module[0].weight.grad, torch.full((4, 3), 3.0))
    assert module[0].bias.grad is None and module[1].weight.grad is None
