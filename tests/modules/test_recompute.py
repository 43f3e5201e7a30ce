"""Recomputation in the backward pass: the same numbers, less memory, and no product computed twice."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from reference import padding_of, randomise
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from summarymixing_fairseq.modules.conformer import RECOMPUTE, ConformerEncoder, ConformerLayer
from summarymixing_fairseq.modules.mixing import MIXERS, build_mixer

PRODUCTS = (torch.ops.aten.addmm.default, torch.ops.aten.convolution.default)


def build_layer(recompute: str, mixer: str = "summarymixing") -> ConformerLayer:
    mixer = build_mixer(mixer, embed_dim=8, num_heads=2, dropout=0.2)
    return ConformerLayer(mixer, 8, 32, 5, dropout=0.2, activation_dropout=0.3, recompute=recompute)


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
@pytest.mark.parametrize("mixer", sorted(MIXERS))
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_same_outputs_and_gradients_bit_for_bit(recompute, mixer, autocast):
    def run(encoder):
        torch.manual_seed(5)
        with torch.autocast("cpu", autocast, enabled=autocast is not None):
            y, _ = encoder(x, padding)
        torch.rand(3)  # random numbers drawn between the two passes change nothing
        y.float().square().sum().backward()
        return [y, torch.rand(1), *(p.grad for p in encoder.parameters())]

    plain = randomise(ConformerEncoder(lambda: build_layer("none", mixer), 2, 8))
    again = ConformerEncoder(lambda: build_layer(recompute, mixer), 2, 8)
    again.load_state_dict(plain.state_dict())
    x, padding = torch.randn(2, 6, 8), padding_of([6, 4])
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
    assert kept["cheap"] < 0.6 * kept["none"]
    assert kept["layer"] < 0.1 * kept["none"]
    assert products["none"] == products["cheap"] == 0 < products["layer"]


@torch.no_grad()
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_without_gradients_nothing_changes(recompute):
    plain, again = build_layer("none").eval(), build_layer(recompute).eval()
    again.load_state_dict(plain.state_dict())
    x = torch.randn(2, 6, 8)
    assert torch.equal(again(x), plain(x))


def test_unknown_choice():
    with pytest.raises(ValueError, match=r"recompute='all' is unknown: choose one of none, cheap, layer"):
        build_layer("all")
