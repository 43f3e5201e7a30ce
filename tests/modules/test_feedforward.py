"""The feed-forward module that recomputes, against autograd's own backward pass and the formula."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from reference import assert_near

from summarymixing_fairseq.modules.feedforward import FeedForward


def outputs_and_gradients(module, x):
    x = x.clone().requires_grad_()
    torch.manual_seed(5)  # the same dropout masks on both sides
    y = module(x)
    torch.manual_seed(6)
    return [y, *torch.autograd.grad(y, [x, *module.parameters()], torch.randn(y.shape).to(y.dtype))]


def randomised(*args, **options) -> FeedForward:
    module = FeedForward(*args, **options)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter.data, std=0.4)
    return module


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("training", [True, False])
def test_equals_autograd(dtype, tolerance, dropout, training):
    # torch draws no mask where everything is dropped: the masks of a second dropout would differ
    fast = randomised(12, 40, 0.1 if dropout < 1 else 0.0, dropout).to(dtype).train(training)
    plain = copy.deepcopy(fast)
    plain.fast = False
    x = torch.randn(2, 7, 12, dtype=dtype)
    for a, e in zip(outputs_and_gradients(fast, x), outputs_and_gradients(plain, x)):
        assert_near(a, e, tolerance)


def test_equals_the_formula():
    module = randomised(6, 10, 0.0, 0.0)
    x = torch.randn(1, 3, 6)
    norm = F.layer_norm(x, (6,), module.norm.weight, module.norm.bias)
    hidden = norm @ module.inner.weight.t() + module.inner.bias
    expected = (hidden * torch.sigmoid(hidden)) @ module.outer.weight.t() + module.outer.bias
    assert_near(module(x), expected, 1e-5)
    with torch.no_grad():
        assert_near(module(x), expected, 1e-5)


def test_a_long_clip_goes_through_in_parts(monkeypatch):
    module = randomised(6, 10, 0.0, 0.0)
    x = torch.randn(2, 11, 6)
    whole = module(x)
    monkeypatch.setattr("summarymixing_fairseq.modules.feedforward.FRAMES_AT_A_TIME", 4)
    with torch.no_grad():
        assert_near(module(x), whole, 1e-5)
        assert module(x[:, :0]).shape == (2, 0, 6)


def test_keeps_less():
    """What the graph keeps: the input of ``outer`` is the largest tensor of the plain module, and not of this one."""
    x = torch.randn(1, 50, 8)

    def kept(fast: bool) -> int:
        module = FeedForward(8, 32, 0.0, 0.5, fast=fast)
        sizes = {}

        def keep(tensor):
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            module(x)
        return sum(sizes.values())

    assert kept(False) - kept(True) >= 50 * 32 * 4


def test_autocast():
    module = randomised(8, 16, 0.0, 0.0)
    x = torch.randn(2, 5, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert module.inner.weight.grad.dtype == x.grad.dtype == torch.float32
    assert (y.float() - module(x)).abs().mean() < 5e-2
