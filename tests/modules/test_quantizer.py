"""The quantizer's product, against fairseq's expansion."""

from __future__ import annotations

import pytest
import torch
from fairseq.modules import GumbelVectorQuantizer
from reference import assert_near

from summarymixing_fairseq.modules.quantizer import ProductQuantizer

OPTIONS = {"num_vars": 11, "temp": (2.0, 0.5, 0.9), "groups": 3, "combine_groups": False, "time_first": True}


def both(dtype: torch.dtype = torch.float32, **options) -> tuple[ProductQuantizer, GumbelVectorQuantizer]:
    ours = ProductQuantizer(dim=8, vq_dim=12, **OPTIONS, **options).to(dtype)
    theirs = GumbelVectorQuantizer(dim=8, vq_dim=12, **OPTIONS, **options).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def results(module, x, training, autocast=False):
    """What it returns for the same noise, and the gradients of all of it."""
    module.train(training)
    x = x.clone().requires_grad_()
    torch.manual_seed(3)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        result = module(x, produce_targets=True)
    torch.manual_seed(4)
    loss = (result["x"].double() * torch.randn(result["x"].shape, dtype=torch.float64)).sum() + result[
        "prob_perplexity"
    ]
    return result, torch.autograd.grad(loss, [x, *module.parameters()])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("hard", [True, False])
@pytest.mark.parametrize("depth", [1, 2])
def test_equals_fairseqs(training, hard, depth):
    ours, theirs = both(hard=hard, weight_proj_depth=depth)
    for module in (ours, theirs):
        module.set_num_updates(3)
    x = torch.randn(2, 5, 8)
    (mine, my_grads), (stock, stock_grads) = (results(module, x, training) for module in (ours, theirs))
    assert mine.keys() == stock.keys()
    assert mine["temp"] == stock["temp"] != 2.0 and mine["num_vars"] == stock["num_vars"] == 33
    assert torch.equal(mine["targets"], stock["targets"])
    for name in ("x", "code_perplexity", "prob_perplexity"):
        assert mine[name].dtype == stock[name].dtype
        assert_near(mine[name], stock[name], 1e-5)
    for a, e in zip(my_grads, stock_grads):
        assert_near(a, e, 1e-5)


@pytest.mark.parametrize("dtype, autocast", [(torch.bfloat16, False), (torch.float32, True)])
def test_as_precise_as_fairseqs(dtype, autocast):
    ours, theirs = both(dtype)
    x = torch.randn(2, 5, 8, dtype=dtype)
    (mine, _), (stock, _) = (results(module, x, True, autocast) for module in (ours, theirs))
    assert mine["x"].dtype == stock["x"].dtype
    assert_near(mine["x"].float(), stock["x"].float(), 1e-6 if autocast else 1e-2)


def test_the_expansion_is_never_there():
    """No tensor of frames x groups x entries x width, neither in the forward nor in the backward pass."""
    ours, _ = both()
    frames = 400
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(tensor, torch.Tensor):
                    largest = max(largest, tensor.numel())
            return out

    with Watch():
        ours.train()(torch.randn(1, frames, 8, requires_grad=True))["x"].sum().backward()
    assert largest == frames * 3 * 11  # the choices
