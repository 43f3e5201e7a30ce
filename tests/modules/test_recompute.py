"""Recomputation in the backward pass: the same numbers, less memory, and no product computed twice."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from mixers import small_mixer
from reference import padding_of, randomise
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from summarymixing_fairseq.modules.conformer import RECOMPUTE, ConformerEncoder, ConformerLayer
from summarymixing_fairseq.modules.kernels.depthwise import DepthwiseConv
from summarymixing_fairseq.modules.kernels.recompute import _DrawnAgain, made_again, recomputing
from summarymixing_fairseq.modules.mixing import MIXERS

PRODUCTS = (torch.ops.aten.addmm.default, torch.ops.aten.convolution.default, torch.ops.aten.baddbmm.default)
FORMS = [(name, {}) for name in sorted(MIXERS)] + [
    ("summarymixing", {"mode": "lite"}),
    ("summarymixing", {"mode": "expdecay"}),
    ("summarymixing", {"num_heads": 1, "activation": "relu", "layer_norm": False}),
    ("summarymixing", {"num_heads": 2, "activation": "swish", "local_hidden_dim": 6, "summary_out_dim": 4}),
    ("bigbird", {"window": 1, "global_blocks": 1, "random_blocks": 1}),
]


def build_layer(recompute: str, mixer: str = "summarymixing", **options) -> ConformerLayer:
    cell = small_mixer(mixer, 8, 2, dropout=0.2, **options)
    return ConformerLayer(cell, 8, 32, 5, dropout=0.2, activation_dropout=0.3, recompute=recompute)


class Watch(TorchDispatchMode):
    """Counts operations, and knows how many bytes of their results are still in memory."""

    def __init__(self):
        super().__init__()
        self.calls, self.storages = Counter(), []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function] += 1
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.storages.append((StorageWeakRef(storage), storage.data_ptr(), storage.nbytes()))
        return out

    def kept_bytes(self) -> int:
        return sum({address: size for ref, address, size in self.storages if not ref.expired()}.values())


@pytest.mark.parametrize("recompute", [name for name in RECOMPUTE if name != "none"])
@pytest.mark.parametrize("mixer, options", FORMS)
@pytest.mark.parametrize("autocast, lengths", [(None, None), (torch.bfloat16, [6, 4])])
def test_same_outputs_and_gradients_bit_for_bit(recompute, mixer, options, autocast, lengths):
    def run(encoder):
        torch.manual_seed(5)
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            y, _ = encoder(x, padding)
        torch.rand(3)  # random numbers drawn between the two passes change nothing
        y.float().square().sum().backward()
        return [y, torch.rand(1), *(p.grad for p in encoder.parameters())]

    plain = randomise(ConformerEncoder(lambda: build_layer("none", mixer, **options), 2, 8))
    again = ConformerEncoder(lambda: build_layer(recompute, mixer, **options), 2, 8)
    again.load_state_dict(plain.state_dict())
    x, padding = torch.randn(2, 6, 8), lengths and padding_of(lengths)
    for actual, expected in zip(run(again), run(plain)):
        assert torch.equal(actual, expected)


def test_keeps_less_and_computes_no_product_twice():
    x = torch.randn(2, 50, 8, requires_grad=True)
    kept, products = {}, {}
    for recompute in RECOMPUTE:
        with Watch() as forward:
            y = build_layer(recompute)(x)
        kept[recompute] = forward.kept_bytes()
        with Watch() as backward:
            y.sum().backward()
        products[recompute] = sum(backward.calls[product] for product in PRODUCTS)
    assert kept["cheap"] < 0.5 * kept["none"]
    assert kept["layer"] < 0.1 * kept["none"]
    assert products["none"] == products["cheap"] == 0 < products["layer"]


class ChangesItsInput(nn.Module):
    """A mixer that knows nothing of recomputation."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, padding_mask: torch.Tensor | None = None) -> torch.Tensor:
        x.mul_(2)
        return self.linear(x).add_(x)


@pytest.mark.parametrize("mixer", [ChangesItsInput, nn.Identity])
def test_any_mixer_can_be_in_the_layer(mixer):
    class Mixer(mixer):
        def forward(self, x, padding_mask=None):
            return super().forward(x)

    layers = [ConformerLayer(Mixer(), 8, 32, 5, 0.0, 0.0, recompute) for recompute in ("none", "cheap")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(2, 6, 8)
    for layer in layers:
        layer(x).square().sum().backward()
    for actual, expected in zip(layers[1].parameters(), layers[0].parameters()):
        assert torch.equal(actual.grad, expected.grad)


def test_what_is_made_again_is_made_once_and_held_by_nobody():
    """Two products store it; a function that returns its input, and the backward pass, leave nothing in memory."""
    calls, weights = [], [torch.randn(3, 3, requires_grad=True) for _ in range(2)]

    def double(x):
        calls.append(x)
        return x * 2

    x = torch.randn(4, 3, requires_grad=True)
    with recomputing(True), Watch() as watch:
        y = made_again(lambda x: x.contiguous(), made_again(double, x))
        z = sum((y.view(2, 2, 3)[:, 1] @ weight).sum() for weight in weights)
        del y
    calls.clear()
    z.backward()
    assert len(calls) == 1
    calls.clear()
    for weight in weights:
        assert torch.equal(weight.grad, (2 * x.detach())[1::2].sum(0)[:, None].expand(3, 3))
    assert watch.kept_bytes() == x.untyped_storage().nbytes() + z.untyped_storage().nbytes()


def test_dropout_drawn_again_is_the_same():
    """What a GPU does, with the random numbers of a CPU."""
    x = torch.randn(5, 40, requires_grad=True)
    weight = torch.randn(40, 40, requires_grad=True)
    results = []
    for drop in (lambda x: torch.native_dropout(x, 0.3, True)[0], lambda x: _DrawnAgain.apply(x, 0.3)):
        torch.manual_seed(3)
        with recomputing(True):
            # the result of the first is stored by a product, that of the second by nobody
            y = drop(drop(x) @ weight)
        following = torch.rand(3)
        gradients = torch.autograd.grad(y.square().sum(), [x, weight])
        results.append([y, following, torch.rand(3), *gradients])
    for actual, expected in zip(*results):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("recompute", RECOMPUTE)
@pytest.mark.parametrize("mixer", ["summarymixing", "mhsa"])
def test_second_derivatives(recompute, mixer, monkeypatch):
    """Through stored, recomputed and fast forms as through plain ones."""
    x, padding = torch.randn(2, 9, 8, dtype=torch.float64), padding_of([9, 6])
    results = []
    for plain in (True, False):
        torch.manual_seed(2)
        layer = randomise(build_layer("none" if plain else recompute, mixer).double())
        for module in layer.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        # flash attention, which runs where nothing is dropped, has no second derivative
        with monkeypatch.context() as patch, sdpa_kernel(SDPBackend.MATH):
            if plain:
                patch.setattr(DepthwiseConv, "forward", DepthwiseConv.forward_plain)
            first = torch.autograd.grad(layer(x, padding).square().sum(), [*layer.parameters()], create_graph=True)
            penalty = sum(gradient.square().sum() for gradient in first)
            results.append(torch.autograd.grad(penalty, [*layer.parameters()]))
    for actual, expected in zip(*results):
        torch.testing.assert_close(actual, expected)


def test_second_derivatives_under_autocast_are_refused():
    layer = build_layer("none")
    with torch.autocast("cpu", torch.bfloat16):
        loss = layer(torch.randn(2, 9, 8)).float().square().sum()
    first = torch.autograd.grad(loss, [*layer.parameters()], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(gradient.square().sum() for gradient in first).backward()


@torch.no_grad()
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_without_gradients_nothing_changes(recompute):
    plain, again = build_layer("none").eval(), build_layer(recompute).eval()
    again.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 8)
    assert torch.equal(again(x), plain(x))
