"""The state space against its recurrence, frame by frame and in both directions (arXiv 2405.21060, section 2)."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from mixers import small_mixer
from reference import assert_equals_reference, assert_near, float32, float64, layer_norm, linear, randomise, swish

from summarymixing_fairseq.modules import state_space


def recurrence(x, log_decay, b, c):
    """Of one head: x (T, P), log_decay (T), b and c (T, N) -> (T, P)."""
    state, outputs = torch.zeros(b.size(1), x.size(1), dtype=x.dtype), []
    for t in range(len(x)):
        state = torch.exp(log_decay[t]) * state + b[t][:, None] * x[t][None]
        outputs.append((c[t][:, None] * state).sum(0))
    return torch.stack(outputs)


def ssd(p, x, num_heads, state_dim, start):
    dim = x.size(1)
    projected = torch.stack([linear(p, "in_proj", frame) for frame in x])
    gate, values = swish(projected[:, :dim]), swish(projected[:, dim : 2 * dim])
    total = p["skip"] * values
    log_rate, step_bias = start[0] + p["log_rate"], start[1] + p["step_bias"]
    for direction in range(2):
        start = 2 * dim + direction * (2 * state_dim + num_heads)
        b, c, steps = projected[:, start : start + 2 * state_dim + num_heads].split(
            [state_dim, state_dim, num_heads], 1
        )
        order = list(range(len(x)))[:: -1 if direction else 1]
        heads = []
        for h in range(num_heads):
            here = slice(h * dim // num_heads, (h + 1) * dim // num_heads)
            step = torch.log(1 + torch.exp(steps[:, h] + step_bias[direction * num_heads + h]))
            log_decay = -step * torch.exp(log_rate[direction * num_heads + h])
            y = recurrence((step[:, None] * values[:, here])[order], log_decay[order], swish(b)[order], swish(c)[order])
            heads.append(y[order])
        total = total + torch.cat(heads, 1)
    return torch.stack([linear(p, "out_proj", layer_norm(p, "norm", frame)) for frame in total * gate])


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [5, 5]), (6, 1, [7, 3, 1]), (4, 2, [70, 66])])
def test_outputs_and_gradients_equal_the_recurrence(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("ssd", dim, num_heads, state_dim=3))
    reference = partial(ssd, num_heads=num_heads, state_dim=3, start=mixer.start.double())
    assert_equals_reference(mixer, reference, lengths, dim, dtype, tolerance)


@pytest.mark.parametrize("num_frames", [1, 3, 4, 9, 27, 28, 60])
def test_chunks_of_chunks_equal_the_recurrence(num_frames, monkeypatch):
    """With chunks of three frames, 60 frames are three levels of them."""
    monkeypatch.setattr(state_space, "CHUNK_FRAMES", 3)
    x, b, c = (torch.randn(2, num_frames, *size).double() for size in ((2, 4), (5,), (5,)))
    log_decay = -F.softplus(torch.randn(2, num_frames, 2)).double()
    y = state_space.state_space_scan(x, log_decay, b, c)
    for clip in range(2):
        for head in range(2):
            expected = recurrence(x[clip, :, head], log_decay[clip, :, head], b[clip], c[clip])
            assert_near(y[clip, :, head], expected, 1e-12)


def test_fast_decay_over_a_long_clip():
    """Decays of exp(-60) a frame multiply to far below the smallest number: gradients stay finite."""
    x, b, c = (torch.randn(1, 200, *size).requires_grad_() for size in ((1, 2), (3,), (3,)))
    log_decay = torch.full((1, 200, 1), -60.0, requires_grad=True)
    y = state_space.state_space_scan(x, log_decay, b, c)
    assert_near(y[0, :, 0], (b * c).sum(-1)[0, :, None] * x[0, :, 0], 1e-5)
    y.sum().backward()
    assert all(z.grad.isfinite().all() for z in (x, b, c, log_decay))


def test_starts_as_mamba_2_does():
    mixer = small_mixer("ssd", 16, 8)
    rates, steps = mixer.start[0].exp(), F.softplus(mixer.start[1])
    assert steps.min() > 0.99e-3 and steps.max() < 0.101
    assert rates.min() > 0.99 and rates.max() < 16.01
    assert not mixer.log_rate.any() and not mixer.step_bias.any()
