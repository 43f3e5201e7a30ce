"""Products whose input is computed again in the backward pass, against autograd's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from reference import assert_near
from torch.autograd import gradcheck

from summarymixing_fairseq.modules.conformer import ConvolutionModule
from summarymixing_fairseq.modules.kernels.depthwise import ChannelsLastDepthwise
from summarymixing_fairseq.modules.kernels.recompute import Linear, of_cheap

SHAPES = {
    Linear: ((2, 5, 4), (3, 4), (3,)),
    ChannelsLastDepthwise: ((2, 6, 4), (4, 3), (4,)),
}


def scaled_gelu(x, scale):
    return F.gelu(x) * scale


@pytest.mark.parametrize("product", SHAPES)
def test_gradients_are_those_of_finite_differences(product):
    x, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in SHAPES[product])
    scale = torch.rand(x.size(-1), dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda *inputs: of_cheap(product, scaled_gelu, *inputs), (weight, bias, x, scale))


def test_only_what_is_asked_for():
    x, weight, mask = torch.randn(2, 3, 4), torch.randn(5, 4, requires_grad=True), torch.ones(2, 3, 4, dtype=torch.int8)
    of_cheap(Linear, torch.mul, weight, None, x, mask).sum().backward()
    assert_near(weight.grad, x.sum((0, 1)).expand(5, 4), 1e-5)
    weight.requires_grad_(False)
    x.requires_grad_()
    of_cheap(Linear, torch.mul, weight, None, x, mask).sum().backward()
    assert_near(x.grad, weight.sum(0).expand(2, 3, 4), 1e-5)


def test_autocast_is_the_same_in_both_passes():
    seen = []

    def cheap(x):
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return F.gelu(x)

    x, weight = torch.randn(2, 3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        y = of_cheap(Linear, cheap, weight, None, x)
    assert y.dtype == torch.float16
    y.float().sum().backward()
    assert seen == [(True, torch.float16)] * 2
    assert x.grad.dtype == weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_convolution_with_and_without(dropout):
    module = ConvolutionModule(12, 5, dropout).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter.data, std=0.4)
    padding_mask = torch.arange(7)[None] >= torch.tensor([[7], [4]])
    x = torch.randn(2, 7, 12, dtype=torch.float64, requires_grad=True)
    outcomes = []
    for fast in (True, False):
        module.fast = fast
        torch.manual_seed(5)  # the same dropout masks
        y = module(x, padding_mask)
        outcomes.append([y, *torch.autograd.grad((y * torch.arange(12.0)).sum(), [x, *module.parameters()])])
    for a, e in zip(*outcomes):
        assert_near(a, e, 1e-12)


def test_keeps_less():
    """By four tensors of frames x width: outputs of LN, GLU, LN and Swish."""
    module = ConvolutionModule(12, 5, 0.5)
    x = torch.randn(2, 50, 12, requires_grad=True)

    def kept(fast: bool) -> float:
        module.fast = fast
        storages = {}

        def keep(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            module(x, None)
        return sum(storages.values()) / (x.numel() * 4)

    assert kept(False) - kept(True) >= 3.99
