"""Pooling over valid frames against loops over frames and channels, gradients included."""

from __future__ import annotations

import math

import pytest
import torch
from probe_reference import attentive_statistics, mean_std
from reference import assert_near, float32, float64, padding_of, randomise

from summarymixing_fairseq.probing.heads.pooling import AttentiveStatisticsPooling, masked_mean, masked_mean_std

LENGTHS = [[6, 6], [7, 4, 2]]


def outputs_and_gradients(pool, x, parameters=()):
    y = pool(x)
    torch.manual_seed(3)
    direction = torch.randn(y.shape, dtype=torch.float64).to(y.dtype)
    return [y, *torch.autograd.grad((y * direction).sum(), [x, *parameters])]


def batch(lengths, dim, dtype):
    """Clips whose padding holds NaN, and their mask or None."""
    padding = padding_of(lengths)
    x = torch.randn(*padding.shape, dim, dtype=dtype) * 2 + 1
    return x.masked_fill(padding[..., None], math.nan).requires_grad_(), padding if padding.any() else None


def by_clip(function, x, lengths):
    return torch.stack([function(clip[:length]) for clip, length in zip(x, lengths)])


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(
    "pool, loop", [(masked_mean, lambda x: sum(x) / len(x)), (masked_mean_std, lambda x: mean_std(list(x)))]
)
def test_statistics_equal_the_loops(pool, loop, lengths, dtype, tolerance):
    x, padding = batch(lengths, 5, dtype)
    plain = x.detach().double().requires_grad_()
    actual = outputs_and_gradients(lambda x: pool(x, padding), x)
    expected = outputs_and_gradients(lambda x: by_clip(loop, x, lengths), plain)
    for a, e in zip(actual, expected):
        assert_near(a, e, tolerance)


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_attentive_statistics_equal_the_loops(lengths, dtype, tolerance):
    pool = randomise(AttentiveStatisticsPooling(5, 4)).to(dtype)
    names, parameters = zip(*pool.named_parameters())
    x, padding = batch(lengths, 5, dtype)
    actual = outputs_and_gradients(lambda x: pool(x, padding), x, parameters)

    p = {name: value.detach().double().requires_grad_() for name, value in zip(names, parameters)}
    plain = x.detach().double().requires_grad_()
    expected = outputs_and_gradients(
        lambda x: by_clip(lambda clip: attentive_statistics(p, clip), x, lengths), plain, p.values()
    )
    for name, a, e in zip(["output", "input", *names], actual, expected):
        assert_near(a, e, tolerance, name)


def test_attention_without_scores_is_plain_statistics():
    pool = AttentiveStatisticsPooling(5, 4)
    torch.nn.init.zeros_(pool.score.weight)
    x, padding = batch([9, 3], 5, torch.float32)
    assert_near(pool(x, padding), masked_mean_std(x, padding), 1e-6)


@pytest.mark.parametrize("make", [lambda: masked_mean_std, lambda: AttentiveStatisticsPooling(3, 4)])
@pytest.mark.parametrize("x", [torch.full((1, 4, 3), 0.1), torch.full((1, 1, 3), 0.7)], ids=["constant", "one_frame"])
def test_no_deviation_has_a_finite_gradient(make, x):
    x = x.clone().requires_grad_()
    y = make()(x)
    y.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (y[0, 3:] <= 1.1e-5).all()
    assert_near(y[0, :3], x[0, 0], 1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    x = torch.full((1, 3000, 2), 100.0, dtype=dtype)
    x[:, ::2] += 8
    y = masked_mean_std(x)
    assert y.dtype == dtype
    assert_near(y, torch.tensor([[104.0, 104.0, 4.0, 4.0]]), 1e-3)
    assert_near(masked_mean(x), torch.tensor([[104.0, 104.0]]), 1e-3)


def test_large_attention_scores_stay_finite():
    pool = AttentiveStatisticsPooling(3, 4)
    pool.score.weight.data.fill_(500.0)
    assert torch.isfinite(pool(torch.randn(2, 9, 3), padding_of([9, 4]))).all()
