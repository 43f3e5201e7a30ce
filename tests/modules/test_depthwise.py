"""The depthwise convolution without transposes against torch's conv1d (which test_conformer.py compares with loops)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference import assert_near
from torch._prims_common import suggest_memory_format

from summarymixing_fairseq.modules.kernels.depthwise import DepthwiseConv


def outputs_and_gradients(function, x, *parameters):
    x = x.clone().requires_grad_()
    y = function(x)
    torch.manual_seed(1)
    return [y, *torch.autograd.grad(y, [x, *parameters], torch.randn(y.shape).to(y.dtype))]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("B, T, D, K", [(2, 9, 6, 5), (1, 1, 3, 31), (3, 40, 17, 31), (1, 5, 1, 1), (2, 33, 64, 3)])
def test_equals_conv1d(B, T, D, K, dtype, tolerance):
    conv = DepthwiseConv(D, K).to(dtype)
    x = torch.randn(B, T, D, dtype=dtype)
    expected = outputs_and_gradients(conv.forward_plain, x, *conv.parameters())
    for a, e in zip(outputs_and_gradients(conv, x, *conv.parameters()), expected):
        assert a.dtype == dtype
        assert_near(a, e, tolerance)
    with torch.no_grad():
        assert_near(conv(x), expected[0], tolerance)
    # what a GPU runs, here on a CPU, gradients too
    for a, e in zip(outputs_and_gradients(lambda x: conv.forward_as_image(x, 2), x, *conv.parameters()), expected):
        assert a.dtype == dtype
        assert_near(a, e, tolerance)


def test_transposed_input_and_gradient():
    conv = DepthwiseConv(8, 3)
    x = torch.randn(2, 8, 11).transpose(1, 2)
    expected = outputs_and_gradients(lambda x: conv.forward_plain(x).transpose(1, 2), x)
    for a, e in zip(outputs_and_gradients(lambda x: conv(x).transpose(1, 2), x), expected):
        assert_near(a, e, 1e-5)


def test_frozen_weights_still_pass_gradients_on():
    conv = DepthwiseConv(4, 3).requires_grad_(False)
    x = torch.randn(1, 5, 4, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert conv.weight.grad is None


def test_a_gpu_sees_the_channels_last_layout(monkeypatch):
    """By the strides, those of axes of size 1 as well; else it would copy the frames into another layout first."""
    images, conv2d = [], F.conv2d
    monkeypatch.setattr(
        F, "conv2d", lambda image, *args, **options: images.append(image) or conv2d(image, *args, **options)
    )
    for B in (1, 2):
        DepthwiseConv(6, 5).to("meta")(torch.empty(B, 9, 6, device="meta", requires_grad=True))
    assert [suggest_memory_format(image) for image in images] == [torch.channels_last] * 2
