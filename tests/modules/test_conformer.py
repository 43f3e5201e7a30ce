"""The Conformer encoder and its parts against loops over frames (arXiv 2407.13377, section 3)."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from reference import (
    assert_equals_reference,
    assert_near,
    conformer_layer,
    convolution_module,
    feed_forward,
    float32,
    float64,
    randomise,
    self_attention,
    summary_mixing,
)

from summarymixing_fairseq.modules.conformer import (
    ConformerEncoder,
    ConformerLayer,
    ConvolutionModule,
)
from summarymixing_fairseq.modules.feedforward import FeedForward
from summarymixing_fairseq.modules.mixing import build_mixer
from summarymixing_fairseq.modules.positions import sinusoidal_positions

MIXERS = {"summarymixing": summary_mixing, "mhsa": partial(self_attention, num_heads=2)}  # and their loops
in_float32_and_64 = pytest.mark.parametrize("dtype, tolerance", [float32, float64])


def build_layer(mixer: str = "summarymixing", dropout: float = 0.0) -> ConformerLayer:
    return ConformerLayer(build_mixer(mixer, embed_dim=8, num_heads=2, dropout=dropout), 8, 20, 5, dropout, dropout)


def build_encoder(num_layers: int = 3, **arguments) -> ConformerEncoder:
    return randomise(ConformerEncoder(build_layer, num_layers, 8, **arguments))


@in_float32_and_64
def test_feed_forward(dtype, tolerance):
    ffn = randomise(FeedForward(8, 20, 0.0, 0.0))
    assert_equals_reference(ffn, feed_forward, [4, 4], 8, dtype, tolerance, takes_padding=False)


def test_feed_forward_takes_a_long_clip_in_parts(monkeypatch):
    ffn = randomise(FeedForward(6, 10, 0.0, 0.0))
    x = torch.randn(2, 11, 6)
    whole = ffn(x)
    monkeypatch.setattr("summarymixing_fairseq.modules.feedforward.FRAMES_AT_A_TIME", 4)
    with torch.no_grad():
        assert_near(ffn(x), whole, 1e-5)
        assert ffn(x[:, :0]).shape == (2, 0, 6)


def test_dropout_of_the_feed_forward_module():
    x = torch.randn(2, 4, 8)
    assert (FeedForward(8, 20, dropout=1.0, activation_dropout=0.0)(x) == 0).all()
    ffn = randomise(FeedForward(8, 20, dropout=0.0, activation_dropout=1.0))
    assert torch.equal(ffn(x), ffn.outer.bias.expand(2, 4, 8))
    assert not torch.equal(ffn.eval()(x), ffn.outer.bias.expand(2, 4, 8))


@in_float32_and_64
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 3, 1], [1]])
def test_convolution_module(kernel_size, lengths, dtype, tolerance):
    conv = randomise(ConvolutionModule(6, kernel_size, 0.0))
    assert_equals_reference(conv, convolution_module, lengths, 6, dtype, tolerance)


@pytest.mark.parametrize("lengths", [[5, 5], [6, 2]], ids=["full_batch", "padded"])
@in_float32_and_64
@pytest.mark.parametrize("mixer", MIXERS)
def test_layer(mixer, lengths, dtype, tolerance):
    reference = partial(conformer_layer, mixer=MIXERS[mixer])
    assert_equals_reference(randomise(build_layer(mixer)), reference, lengths, 8, dtype, tolerance)


@pytest.mark.parametrize("dim", [2, 7, 8])
def test_positions(dim):
    positions = sinusoidal_positions(50, dim, torch.device("cpu"))
    for t in (0, 1, 49):
        for i in range(dim):
            angle = t / 10_000 ** (2 * (i // 2) / dim)
            expected = math.cos(angle) if i % 2 else math.sin(angle)
            assert positions[t, i].item() == pytest.approx(expected, abs=1e-5)


def test_positions_have_no_end():
    positions = sinusoidal_positions(60_000, 4, torch.device("cpu"))
    assert positions[59_999, 0].item() == pytest.approx(math.sin(59_999), abs=1e-3)


@pytest.mark.parametrize("positions", [True, False])
def test_encoder_is_positions_layers_and_a_norm(positions):
    encoder = build_encoder(positions=positions).eval()
    x = torch.randn(2, 9, 8)
    expected = [x + sinusoidal_positions(9, 8, x.device) if positions else x]
    for layer in encoder.layers:
        expected.append(layer(expected[-1]))
    y, hidden_states = encoder(x)
    assert len(hidden_states) == 4
    for actual, state in zip(hidden_states, expected):
        assert torch.equal(actual, state)
    assert torch.equal(y, encoder.layer_norm(expected[-1]))


def test_layer_drop():
    encoder = build_encoder(num_layers=4, layer_drop=0.5)
    x = torch.randn(1, 5, 8)

    def dropped() -> int:
        states = encoder(x)[1]
        return sum(torch.equal(before, after) for before, after in zip(states, states[1:]))

    counts = [dropped() for _ in range(60)]
    assert 90 <= sum(counts) <= 150  # of 240 layers, half: +- 4 standard deviations
    torch.manual_seed(3)
    first = encoder(x)[0]
    torch.manual_seed(3)
    assert torch.equal(first, encoder(x)[0])
    encoder.eval()
    assert dropped() == 0
