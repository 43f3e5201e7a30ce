"""The transpose-free depthwise convolution against loops and against torch's conv1d, gradients included."""

from __future__ import annotations

import copy

import pytest
import torch
from reference import assert_near

from summarymixing_fairseq.modules.kernels.depthwise import DepthwiseConv


def depthwise(x, weight, bias):
    """y[b, t, d] = bias[d] + sum over k of weight[d, k] x[b, t + k - K // 2, d], zeros beyond both ends."""
    B, T, D = x.shape
    K = weight.shape[-1]
    rows = []
    for t in range(T):
        y = bias.expand(B, D)
        for k in range(K):
            if 0 <= t + k - K // 2 < T:
                y = y + weight[:, 0, k] * x[:, t + k - K // 2]
        rows.append(y)
    return torch.stack(rows, 1)


def outputs_and_gradients(function, x, *parameters):
    x = x.clone().requires_grad_()
    y = function(x)
    torch.manual_seed(1)
    return [y, *torch.autograd.grad(y, [x, *parameters], torch.randn(y.shape).to(y.dtype))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("B, T, D, K", [(2, 9, 6, 5), (1, 1, 3, 31), (3, 40, 17, 31), (1, 5, 1, 1), (2, 33, 64, 3)])
def test_equals_the_loops(B, T, D, K, dtype, tolerance):
    conv = DepthwiseConv(D, K).to(dtype)
    x = torch.randn(B, T, D, dtype=dtype)
    expected = outputs_and_gradients(lambda x: depthwise(x, conv.weight, conv.bias), x, conv.weight, conv.bias)
    for fast in (True, False):
        conv.fast = fast
        for a, e in zip(outputs_and_gradients(conv, x, conv.weight, conv.bias), expected):
            assert_near(a, e, tolerance)


def test_transposed_input_and_gradient():
    conv = DepthwiseConv(8, 3)
    x = torch.randn(2, 8, 11).transpose(1, 2)
    expected = outputs_and_gradients(lambda x: depthwise(x, conv.weight, conv.bias).transpose(1, 2), x)
    for a, e in zip(outputs_and_gradients(lambda x: conv(x).transpose(1, 2), x), expected):
        assert_near(a, e, 1e-5)


@pytest.mark.parametrize("fast", [True, False])
def test_autocast(fast):
    conv = DepthwiseConv(8, 3, fast)
    x = torch.randn(2, 9, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = conv(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert x.grad.dtype == conv.weight.grad.dtype == torch.float32
    assert_near(y.float(), conv(x), 3e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    conv = DepthwiseConv(8, 3)
    half = copy.deepcopy(conv).to(dtype)
    x = torch.randn(2, 9, 8)
    y = half(x.to(dtype))
    y.sum().backward()
    assert_near(y.float(), conv(x), 3e-2)


def test_frozen_weights_still_pass_gradients_on():
    conv = DepthwiseConv(4, 3).requires_grad_(False)
    x = torch.randn(1, 5, 4, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert conv.weight.grad is None


@pytest.mark.parametrize("kernel_size", [0, -1, 4])
def test_kernel_size_refused(kernel_size):
    with pytest.raises(ValueError, match=r"depthwise_conv_kernel_size=.*odd and positive"):
        DepthwiseConv(4, kernel_size)
