"""The decayed mean in linear time against the double loop over frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import assert_near, padding_of

from summarymixing_fairseq.modules.decay import decayed_mean
from summarymixing_fairseq.modules.state_space import CHUNK_FRAMES


def double_loop(x: torch.Tensor, length: int, decay: float) -> torch.Tensor:
    """(T, D), its valid frames -> decayed mean at every frame, padded ones included."""
    rows = []
    for t in range(len(x)):
        weights = torch.tensor([decay ** abs(t - u) for u in range(length)], dtype=torch.float64)
        rows.append((weights[:, None] * x[:length].double()).sum(0) / weights.sum())
    return torch.stack(rows)


@pytest.mark.parametrize("decay", [0.995, 0.5, 0.05])
@pytest.mark.parametrize("num_frames", [1, 2, CHUNK_FRAMES - 1, CHUNK_FRAMES, CHUNK_FRAMES + 1, 2 * CHUNK_FRAMES + 5])
def test_equals_the_double_loop(num_frames, decay):
    x = torch.randn(1, num_frames, 3)
    assert_near(decayed_mean(x, None, decay)[0], double_loop(x[0], num_frames, decay), 1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=3))
def test_padding_counts_for_nothing(lengths):
    x = torch.randn(len(lengths), max(lengths), 2)
    padding = padding_of(lengths)
    y = decayed_mean(x.masked_fill(padding[..., None], float("nan")), padding, 0.995)
    for b, length in enumerate(lengths):
        assert_near(y[b, :length], double_loop(x[b], length, 0.995)[:length], 1e-5)


def test_far_padding_is_finite_with_finite_gradients():
    """0.995^|t - u| underflows in float32 about 20,000 frames from the last valid one."""
    x = torch.randn(2, 22_000, 1, requires_grad=True)
    y = decayed_mean(x, padding_of([22_000, 3]), 0.995)
    assert torch.isfinite(y).all()
    y[1, :3].sum().backward()
    assert torch.isfinite(x.grad).all()
    assert (x.grad[1, 3:] == 0).all() and (x.grad[1, :3] != 0).all()


def test_float64_in_gives_float64_precision():
    x = torch.randn(1, 70, 2, dtype=torch.float64)
    assert_near(decayed_mean(x, None, 0.995)[0], double_loop(x[0], 70, 0.995), 1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_accumulates_in_float32(dtype):
    x = torch.randn(1, 400, 2).to(dtype)
    y = decayed_mean(x, None, 0.995)
    assert y.dtype == dtype
    expected = double_loop(x[0].float(), 400, 0.995)
    assert (y[0].double() - expected).abs().max() <= torch.finfo(dtype).eps * expected.abs().max()
