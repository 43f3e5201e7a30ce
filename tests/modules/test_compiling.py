"""Compiled layers give what the plain ones give; without a compiler they run as they are."""

from __future__ import annotations

import copy
import logging
import shutil

import pytest
import torch
from mixers import small_mixer
from reference import assert_near, padding_of
from torch import nn
from torch._dynamo.utils import counters

from summarymixing_fairseq.modules.conformer import ConformerEncoder, ConformerLayer
from summarymixing_fairseq.modules.kernels import compiling
from summarymixing_fairseq.modules.mixing import MIXERS

# To trace all takes a minute and a half.
QUICK = ("mhsa", "summarymixing")


def encoder(recompute="none", mixer="summarymixing", **options):
    def build_layer():
        cell = small_mixer(mixer, 16, 4)
        return ConformerLayer(cell, 16, 32, 3, dropout=0.0, activation_dropout=0.0, recompute=recompute)

    return ConformerEncoder(build_layer, num_layers=2, embed_dim=16, **options)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_outputs_and_gradients_equal_the_plain_layers():
    plain = encoder()
    compiled = encoder("cheap", compile_layers=True)
    compiled.load_state_dict(plain.state_dict())
    x, padding = torch.randn(2, 9, 16), padding_of([9, 5])
    for model in (plain, compiled):
        model.train()(x, padding)[0][~padding].square().sum().backward()
    assert_near(compiled(x, padding)[0][~padding], plain(x, padding)[0][~padding], 1e-5)
    for p, q in zip(compiled.parameters(), plain.parameters()):
        assert_near(p.grad, q.grad, 1e-4)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    assert counters["stats"]["unique_graphs"] > 0  # something was compiled


@pytest.mark.parametrize(
    "mixer", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in sorted(MIXERS)]
)
def test_all_layers_are_compiled_once_for_all_shapes(mixer, monkeypatch):
    """The first layer gets frames of the same dtype as the others; clips and frames may be any number."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **o: compile_module(self, backend="eager", **o))
    monkeypatch.setattr(compiling, "missing_compiler", lambda device: None)
    torch._dynamo.reset()
    counters.clear()
    model = encoder("cheap", mixer, compile_layers=True).train()
    project = nn.Linear(16, 16)  # its output is in half precision, as what a model gives its encoder
    for i in range(4):
        lengths = [70 + 21 * i] * (2 + i) + [11]  # ssd: two chunks or three
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = model(project(torch.randn(len(lengths), lengths[0], 16)), padding_of(lengths))
        y.sum().backward()
    assert counters["stats"]["unique_graphs"] == counters["frames"]["ok"] == counters["frames"]["total"] == 1
    assert not counters["graph_break"]


def test_without_a_compiler_one_warning_and_the_plain_layers(monkeypatch, caplog):
    monkeypatch.setenv("CXX", "no-such-compiler")
    plain = encoder()
    model = encoder(compile_layers=True)
    model.load_state_dict(copy.deepcopy(plain.state_dict()))
    x = torch.randn(1, 5, 16)
    with caplog.at_level(logging.WARNING):
        y = [model.train()(x)[0] for _ in range(2)]
    assert torch.equal(y[1], plain.train()(x)[0])
    assert [r.getMessage() for r in caplog.records] == [
        "model.compile_layers=true has no effect: no C++ compiler (no-such-compiler) is on the PATH"
    ]


def test_a_gpu_needs_triton(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert compiling.missing_compiler(torch.device("cuda")) == "the package triton is not installed"
