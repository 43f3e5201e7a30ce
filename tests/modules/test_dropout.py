"""Dropout: the share dropped, the scale, gradients, and torch's own where the quick draw is off."""

from __future__ import annotations

import pytest
import torch

from summarymixing_fairseq.modules.kernels.dropout import Dropout, draw_keep_mask


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("p", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_share_and_scale(p, fast, dtype):
    x = torch.full((401, 501), 0.5, dtype=dtype)
    y = Dropout(p, fast)(x)
    assert y.dtype == dtype
    num = x.numel()
    dropped = int((y == 0).sum())
    assert abs(dropped - p * num) < 5 * (p * (1 - p) * num) ** 0.5  # 5 standard deviations
    kept = y[y != 0]
    torch.testing.assert_close(
        kept, torch.full_like(kept, 0.5 / (1 - p)), rtol=1e-2 if dtype.itemsize == 2 else 1e-4, atol=0
    )


def test_every_position_and_every_pair_of_neighbours_is_independent():
    """Four elements share one draw of 64 bits: none of the four may be favoured, nor follow another."""
    keep = draw_keep_mask((400_000,), 0.25).view(-1, 4).float()
    sigma = (0.25 * 0.75 / len(keep)) ** 0.5
    assert (keep.mean(0) - 0.75).abs().max() < 5 * sigma
    correlation = torch.corrcoef(keep.t()) - torch.eye(4)
    assert correlation.abs().max() < 5 / len(keep) ** 0.5


def test_gradient_is_the_mask_times_the_scale():
    x = torch.randn(7, 33, requires_grad=True)
    y = Dropout(0.3)(x)
    grad = torch.randn_like(y)
    y.backward(grad)
    kept = y != 0
    scale = (y[kept] / x[kept]).mean()
    torch.testing.assert_close(x.grad, torch.where(kept, grad * scale, torch.zeros(())))
    assert x.grad[~kept].abs().sum() == 0


@pytest.mark.parametrize("fast", [True, False])
def test_follows_torchs_generator(fast):
    dropout, x = Dropout(0.5, fast), torch.ones(1000)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(second, first)


@pytest.mark.parametrize("p", [0.0, 1e-6, 1.0])
def test_none_and_all(p):
    x = torch.randn(100)
    expected = torch.zeros(100) if p == 1.0 else x
    torch.testing.assert_close(Dropout(p)(x), expected, rtol=1e-5, atol=0)


def test_eval_is_the_identity():
    x = torch.randn(10)
    assert Dropout(0.5).eval()(x) is x


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (5,)])
def test_any_shape(shape):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_probability_refused(p):
    with pytest.raises(ValueError, match=r"dropout=.*a probability"):
        Dropout(p)
