"""The fused optimizer against AdamW's formula, and inside fairseq's interface."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.optim.fused_adamw import FusedAdamWConfig


def config(**overrides):
    fields = {"adam_betas": [0.8, 0.9], "adam_eps": 1e-6, "weight_decay": 0.05, "lr": [0.01], **overrides}
    cfg = OmegaConf.merge(OmegaConf.structured(FusedAdamWConfig), fields)
    OmegaConf.set_struct(cfg, False)
    cfg._name = "fused_adamw"
    return cfg


def adamw(parameters, gradients, lr, beta1, beta2, eps, decay):
    """Algorithm 2 of arXiv 1711.05101, an element at a time."""
    values = parameters.tolist()
    for i in range(len(values)):
        m = v = 0.0
        for step, gradient in enumerate(gradients, 1):
            g = gradient[i].item()
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            corrected = (m / (1 - beta1**step)) / ((v / (1 - beta2**step)) ** 0.5 + eps)
            values[i] -= lr * (corrected + decay * values[i])
    return torch.tensor(values, dtype=torch.float64)


def test_equals_the_formula():
    p = torch.nn.Parameter(torch.randn(6, dtype=torch.float64))
    gradients = [torch.randn(6, dtype=torch.float64) * 10.0 ** -torch.arange(6) for _ in range(5)]
    expected = adamw(p.detach(), gradients, 0.01, 0.8, 0.9, 1e-6, 0.05)
    optimizer = build_optimizer(config(), [p])
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(p.detach(), expected, atol=1e-12, rtol=0)


def test_state_survives_a_checkpoint_and_takes_the_new_learning_rate():
    start = torch.randn(5)
    gradients = torch.randn(6, 5)

    def train(p, optimizer, rows):
        for gradient in rows:
            p.grad = gradient.clone()
            optimizer.step()

    p = torch.nn.Parameter(start.clone())
    optimizer = build_optimizer(config(), [p])
    train(p, optimizer, gradients[:3])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    q = torch.nn.Parameter(copy.deepcopy(p.detach()))
    resumed = build_optimizer(config(lr=[0.5]), [q])
    resumed.load_state_dict(torch.load(file, weights_only=True), resumed.optimizer_config)
    assert resumed.get_lr() == 0.5
    for o in (optimizer, resumed):
        o.set_lr(0.02)
    train(p, optimizer, gradients[3:])
    train(q, resumed, gradients[3:])
    assert torch.equal(p, q)


def test_a_checkpoint_of_fairseqs_adam_goes_on():
    p = torch.nn.Parameter(torch.randn(5))
    state = {"step": 7, "exp_avg": torch.rand(5), "exp_avg_sq": torch.rand(5)}
    optimizer = build_optimizer(config(), [p])
    group = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01, "amsgrad": False, "params": [0]}
    optimizer.load_state_dict({"state": {0: state}, "param_groups": [group]}, optimizer.optimizer_config)
    p.grad = torch.randn(5)
    optimizer.step()
    assert torch.isfinite(p).all()
    assert optimizer.state_dict()["state"][0]["step"] == 8


def test_l2_equals_torchs_adam():
    """Also where it goes on from the state of AdamW."""
    start, gradients = torch.randn(6), torch.randn(6, 6)
    r = torch.nn.Parameter(start.clone())
    before = build_optimizer(config(), [r])
    r.grad = gradients[0].clone()
    before.step()
    p, q = (torch.nn.Parameter(start.clone()) for _ in range(2))
    plain = torch.optim.Adam([q], lr=0.01, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.05, foreach=False)
    optimizer = build_optimizer(config(decoupled=False), [p])
    for state in (None, before.state_dict()):
        if state:
            optimizer.load_state_dict(copy.deepcopy(state), optimizer.optimizer_config)
            plain.load_state_dict({**plain.state_dict(), "state": copy.deepcopy(state["state"])})
        for gradient in gradients[1:]:
            for parameter, own in ((p, optimizer), (q, plain)):
                parameter.grad = gradient.clone()
                own.step()
        torch.testing.assert_close(p, q, atol=1e-6, rtol=0)
    assert (p - start).abs().max() > 0.05


@pytest.mark.parametrize("betas", [[0.9], [0.9, 1.0], [-0.1, 0.9], [0.9, 0.9, 0.9]])
def test_betas_refused(betas):
    with pytest.raises(InputError, match=r"optimizer.adam_betas=.*two numbers"):
        build_optimizer(config(adam_betas=betas), [torch.nn.Parameter(torch.zeros(1))])
