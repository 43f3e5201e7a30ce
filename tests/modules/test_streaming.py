"""Clips read chunk by chunk: against plain loops, as steps, and without a look into the future."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch
from reference import ACTIVATIONS, assert_near, gelu, head_mlp, layer_norm, linear, padding_of, randomise
from torch import Tensor

from summarymixing_fairseq.modules.chunks import ChunkDraws, Chunks
from summarymixing_fairseq.modules.conformer import ConformerEncoder, ConformerLayer
from summarymixing_fairseq.modules.filterbank import LogMelFilterbank, running_normalise
from summarymixing_fairseq.modules.frontend import FilterbankFrontend
from summarymixing_fairseq.modules.kernels.depthwise import DepthwiseConv
from summarymixing_fairseq.modules.mixing import MIXERS, OPTIONS, build_mixer

DIM = 16
CASES = {
    **{name: {} for name in sorted(MIXERS) if OPTIONS[name]().streams()},
    **{f"summarymixing {mode}": {"mode": mode} for mode in ("lite", "local", "global", "sum")},
    "local narrow": {"window": 3},
    "ssd small": {"state_dim": 3},
}
streaming = pytest.mark.parametrize("name", CASES)


def build(name: str, dropout: float = 0.0) -> torch.nn.Module:
    mixer, options = name.split()[0], CASES[name]
    return randomise(build_mixer(mixer, embed_dim=DIM, dropout=dropout, **asdict(OPTIONS[mixer](**options))))


def test_the_four_stream():
    assert {name.split()[0] for name in CASES} == {"summarymixing", "rope_mhsa", "local", "ssd"}
    assert not OPTIONS["summarymixing"](mode="expdecay").streams()


@streaming
@pytest.mark.parametrize("chunks", [Chunks(1, 2), Chunks(4, 6), Chunks(5, 3)])
def test_steps_equal_the_clip_in_chunks(name, chunks):
    mixer = build(name).eval()
    x = torch.randn(2, 17, DIM)
    whole, state, parts = mixer(x, None, chunks), mixer.first_state(2, chunks.left), []
    sizes = [part.shape for part in state]
    for first in range(0, 17, chunks.size):
        y, state = mixer.step(x[:, first : first + chunks.size], state, torch.tensor(first))
        assert [part.shape for part in state] == sizes
        parts.append(y)
    assert_near(torch.cat(parts, 1), whole, 1e-5)


@streaming
def test_no_frame_hears_what_comes_after_its_chunk(name):
    mixer = build(name).eval()
    x = torch.randn(1, 22, DIM)
    changed = x.clone()
    changed[:, 15:] = torch.randn(1, 7, DIM)
    y, other = (mixer(frames, None, Chunks(5, 4)) for frames in (x, changed))
    assert_near(y[:, :15], other[:, :15], 1e-6)
    assert name == "summarymixing lite" or (y[:, 15:] - other[:, 15:]).abs().max() > 1e-3


@streaming
def test_padding_is_exact_in_chunks(name):
    mixer, lengths = build(name).eval(), [23, 11, 1]
    padding, chunks = padding_of(lengths), Chunks(4, 6)
    x = torch.randn(3, 23, DIM)
    y = mixer(x.masked_fill(padding[..., None], 3e4), padding, chunks)
    assert torch.isfinite(y).all()
    for row, length in enumerate(lengths):
        assert_near(y[row, :length], mixer(x[row : row + 1, :length], None, chunks)[0], 1e-5)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("local")])
def test_one_chunk_is_the_whole_clip(name):
    """Outputs and gradients."""
    mixer, x = build(name), torch.randn(2, 9, DIM)
    padding, gradients = padding_of([9, 7]), []
    for how in ((), (Chunks(9, 1),)):
        mixer.zero_grad()
        mixer(x, padding, *how).masked_fill(padding[..., None], 0.0).square().sum().backward()
        gradients.append({key: p.grad for key, p in mixer.named_parameters()})
    for key, gradient in gradients[0].items():
        assert_near(gradients[1][key], gradient, 1e-5)


def assert_same_gradients(mixer: torch.nn.Module, actual: Tensor, expected: Tensor, atol: float) -> None:
    """Outputs, and the gradient of each weight."""
    assert_near(actual, expected, atol)
    weights = dict(mixer.named_parameters())
    of = [torch.autograd.grad(y.square().sum(), list(weights.values())) for y in (actual, expected)]
    for name, found, wanted in zip(weights, *of):
        assert (found - wanted).abs().max() <= atol * max(1.0, float(wanted.abs().max())), name


def _heard(t: int, chunks: Chunks, num_frames: int) -> range:
    begin = t // chunks.size * chunks.size
    return range(max(0, begin - chunks.left), min(begin + chunks.size, num_frames))


@pytest.mark.parametrize("name", ["rope_mhsa", "local", "local narrow"])
def test_attention_equals_the_loop(name):
    mixer, chunks, T = build(name).double().eval(), Chunks(4, 6), 15
    p, x = dict(mixer.named_parameters()), torch.randn(T, DIM).double()
    heads, d = mixer.num_heads, DIM // mixer.num_heads
    left = min(chunks.left, getattr(mixer, "window", chunks.left))

    def turned(vector: Tensor, t: int) -> Tensor:
        if name != "rope_mhsa":
            return vector
        out = vector.clone()
        for i in range(d // 2):
            angle = t / 10000 ** (2 * i / d)
            a, b = vector[i], vector[i + d // 2]
            out[i] = a * math.cos(angle) - b * math.sin(angle)
            out[i + d // 2] = a * math.sin(angle) + b * math.cos(angle)
        return out

    projected = [linear(p, "in_proj", frame).view(3, heads, d) for frame in x]
    outputs = []
    for t in range(T):
        frames = _heard(t, Chunks(4, left), T)
        parts = []
        for h in range(heads):
            q = turned(projected[t][0, h], t)
            scores = torch.stack([q @ turned(projected[u][1, h], u) for u in frames]) / d**0.5
            values = torch.stack([projected[u][2, h] for u in frames])
            parts.append(scores.softmax(0) @ values)
        outputs.append(linear(p, "out_proj", torch.cat(parts)))
    assert_same_gradients(mixer, mixer(x[None], None, chunks)[0], torch.stack(outputs), 1e-6)


def test_summary_equals_the_loop():
    mixer, chunks, T = build("summarymixing").double(), Chunks(4, 1), 10
    p, x = dict(mixer.named_parameters()), torch.randn(T, DIM).double()
    act = ACTIVATIONS["gelu"]
    values = torch.stack([head_mlp(p, "summary", frame, act) for frame in x])
    outputs = []
    for t in range(T):
        s = layer_norm(p, "summary_norm", values[: (t // 4 + 1) * 4].mean(0))
        f = layer_norm(p, "local_norm", head_mlp(p, "local", x[t], act))
        outputs.append(gelu(linear(p, "combiner", torch.cat([f, s]))))
    assert_same_gradients(mixer, mixer(x[None], None, chunks)[0], torch.stack(outputs), 1e-9)


@streaming
def test_half_precision_in_chunks(name):
    """As in training: under autocast, with a padded batch; the same as float32 but for its rounding, gradients too."""
    mixer, x, padding = build(name), torch.randn(2, 17, DIM), padding_of([17, 9])
    found = []
    for half in (False, True):
        mixer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = mixer(x, padding, Chunks(4, 6)).float().masked_fill(padding[..., None], 0.0)
        y.square().sum().backward()
        found.append([y, *(p.grad for p in mixer.parameters())])
    for single, half in zip(*found):
        assert half.isfinite().all()
        assert (half - single).norm() <= 0.03 * single.norm() + 1e-3


@pytest.mark.parametrize("kernel_size", [1, 3, 9])
def test_convolution_equals_the_loop(kernel_size):
    """Outputs and gradients; a frame hears none of the chunks that follow."""
    conv, reach, T = DepthwiseConv(DIM, kernel_size).double(), kernel_size // 2, 13
    x = torch.randn(2, T, DIM).double().requires_grad_()
    expected = []
    for t in range(T):
        end = min((t // 4 + 1) * 4, T)
        taps = [conv.weight[:, 0, reach + u - t] * x[:, u] for u in range(max(0, t - reach), min(t + reach + 1, end))]
        expected.append(sum(taps) + conv.bias)
    gradients = []
    for y in (conv.forward_in_chunks(x, 4), torch.stack(expected, 1)):
        assert_near(y, torch.stack(expected, 1), 1e-10)
        gradients.append(torch.autograd.grad(y.square().sum(), [x, *conv.parameters()], retain_graph=True))
    for found, wanted in zip(*gradients):
        assert_near(found, wanted, 1e-9)


def test_running_normalisation_equals_the_loop():
    x = 4 * torch.randn(1, 30, 2) - 8
    expected = torch.zeros(1, 30, 2)
    for t in range(30):
        so_far = x[:, : t + 1].double()
        mean = (100 * -4.0 + so_far.sum(1)) / (100 + t + 1)
        # 100 frames at -4 - 4 and -4 + 4 in turn
        squares = 50 * ((-8 - mean).square() + mean.square()) + (so_far - mean[:, None]).square().sum(1)
        expected[:, t] = (x[:, t] - mean) / (squares / (100 + t + 1)).sqrt()
    assert_near(running_normalise(x), expected, 1e-6)


def test_draws():
    torch.manual_seed(0)
    draws = [ChunkDraws((8, 12), (3, 5), 0.25).draw() for _ in range(400)]
    chunks = [one for one in draws if one is not None]
    assert {one.size for one in chunks} == {8, 9, 10, 11, 12} and {one.left for one in chunks} == {3, 4, 5}
    assert 0.68 < len(chunks) / len(draws) < 0.82


def encoder_of(names: list[str]) -> ConformerEncoder:
    mixers = iter(names)
    encoder = ConformerEncoder(
        lambda: ConformerLayer(build(next(mixers)), DIM, 24, 5, 0.0, 0.0),
        len(names),
        DIM,
        streaming=ChunkDraws((2, 6), (1, 4), 0.5),
    )
    return randomise(encoder)


def test_encoder_and_front_end_by_steps():
    """From the waveform on, and with a chunk that ends early."""
    frontend = randomise(FilterbankFrontend(LogMelFilterbank(num_mel_bins=10), DIM, running=True)).eval()
    encoder, chunks = encoder_of(["summarymixing", "rope_mhsa", "ssd", "local"]).eval(), Chunks(5, 7)
    waveform = 0.1 * torch.randn(1, frontend.min_samples(23) + 11)
    features = frontend(waveform, torch.tensor([waveform.size(1)]))
    whole, _ = encoder(features.latents, chunks=chunks)
    shift = frontend.min_samples(2) - frontend.min_samples(1)
    sums, state, parts = frontend.first_state(1), encoder.first_state(1, chunks.left), []
    for first in range(0, 23, 5):
        heard, num_frames = torch.tensor(first), min(5, 23 - first)
        samples = waveform[:, first * shift :][:, : frontend.min_samples(num_frames)]
        latents, sums = frontend.step(samples, sums, heard)
        y, state = encoder.step(latents, state, heard)
        parts.append(y)
    assert_near(torch.cat(parts, 1), whole, 1e-5)


def test_padding_in_a_running_front_end():
    frontend = randomise(FilterbankFrontend(LogMelFilterbank(num_mel_bins=10), DIM, running=True)).eval()
    waveform, lengths = 0.1 * torch.randn(2, 8000), torch.tensor([8000, 4000])
    alone = frontend(waveform[1:, :4000], lengths[1:])
    waveform[1, 4000:] = float("nan")
    batch = frontend(waveform, lengths)
    assert_near(batch.latents[1, : alone.latents.size(1)], alone.latents[0], 1e-6)
    assert torch.isfinite(batch.latents).all() and torch.isfinite(batch.energies).all()


@torch.no_grad()
def test_training_draws_chunks_and_adds_no_positions():
    encoder, x = encoder_of(["summarymixing", "local"]), torch.randn(1, 12, DIM)
    by_hand = [encoder.eval()(x, chunks=chunks)[0] for chunks in (None, *(Chunks(s, 4) for s in range(2, 7)))]
    torch.manual_seed(3)
    outputs = [encoder.train()(x)[0] for _ in range(12)]
    kinds = {min(range(6), key=lambda kind: float((y - by_hand[kind]).abs().max())) for y in outputs}
    assert 0 in kinds and len(kinds) > 2
    shifted = encoder.eval()(torch.cat([x, x], 1), chunks=Chunks(12, 1))[1][0]
    assert torch.equal(shifted[:, :12], shifted[:, 12:])
