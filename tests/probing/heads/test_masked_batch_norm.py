"""Batch norm over valid frames against torch's on those frames packed, and against the formula."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from reference import assert_near, float32, float64, padding_of, randomise

from summarymixing_fairseq.probing.heads.layers import MaskedBatchNorm1d

DIM = 5


def pair(dtype):
    """Ours and torch's with the same weights, both in training."""
    norm = randomise(MaskedBatchNorm1d(DIM)).to(dtype)
    twin = torch.nn.BatchNorm1d(DIM).to(dtype)
    twin.load_state_dict(norm.state_dict())
    return norm, twin


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("lengths", [[6, 6], [7, 4, 1]])
@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
def test_equals_torch_on_the_valid_frames(lengths, training, dtype, tolerance):
    norm, twin = pair(dtype)
    padding = padding_of(lengths)
    for _ in range(3):  # the running statistics of a few updates
        x = (torch.randn(*padding.shape, DIM, dtype=dtype) * 3 + 2).masked_fill(padding[..., None], math.nan)
        norm(x, padding)
        twin(x[~padding])
    norm.train(training), twin.train(training)
    x.requires_grad_()
    packed = x.detach()[~padding].requires_grad_()
    y, expected = norm(x, padding), twin(packed)
    direction = torch.randn_like(expected)
    gradients = torch.autograd.grad((y[~padding] * direction).sum(), [x, norm.weight, norm.bias])
    expected_gradients = torch.autograd.grad((expected * direction).sum(), [packed, twin.weight, twin.bias])
    assert_near(y[~padding], expected, tolerance)
    assert (y[padding] == 0).all()
    assert (gradients[0][padding] == 0).all()
    for a, e in zip([gradients[0][~padding], *gradients[1:]], expected_gradients):
        assert_near(a, e, tolerance)
    for a, e in zip(norm.buffers(), twin.buffers()):
        assert_near(a, e, tolerance)


def test_without_a_mask_and_on_vectors():
    for shape in [(4, 7, DIM), (9, DIM)]:
        norm, twin = pair(torch.float32)
        x = torch.randn(shape)
        assert_near(norm(x).reshape(-1, DIM), twin(x.reshape(-1, DIM)), 1e-5)
        assert_near(norm.running_var, twin.running_var, 1e-6)


@pytest.mark.parametrize(
    "x, padding",
    [(torch.randn(1, DIM), None), (torch.randn(1, 1, DIM), None), (torch.randn(2, 3, DIM), padding_of([3, 0])[:, 2:])],
    ids=["one_vector", "one_frame", "one_valid_frame"],
)
def test_one_vector_is_normalised_by_running_statistics(x, padding):
    x = x if padding is None else x[:, 2:]
    norm, _ = pair(torch.float32)
    for _ in range(3):
        norm(torch.randn(20, DIM) * 3 + 2)
    before = copy.deepcopy(norm.state_dict())
    x = x.clone().requires_grad_()
    y = norm(x, padding)
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(y, norm.eval()(x, padding))
    y.square().sum().backward()
    assert x.grad.abs().sum() > 0


def test_padding_alone_changes_nothing():
    norm = MaskedBatchNorm1d(DIM)
    y = norm(torch.full((2, 3, DIM), math.nan), torch.ones(2, 3, dtype=torch.bool))
    assert (y == 0).all()
    assert torch.equal(norm.running_mean, torch.zeros(DIM))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_keeps_statistics_in_float32(dtype):
    norm = MaskedBatchNorm1d(DIM)
    x = torch.randn(4, 2000, DIM) * 4 + 30
    y = norm(x.to(dtype), padding_of([2000, 1500, 1000, 700]))
    assert y.dtype == dtype
    twin = MaskedBatchNorm1d(DIM)
    twin(x.to(dtype).float(), padding_of([2000, 1500, 1000, 700]))
    assert torch.equal(norm.running_var, twin.running_var)
