"""The fused optimizer against AdamW's formula, and inside fairseq's interface."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import yaml
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf
from pipeline import ROOT

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


def test_an_epsilon_far_below_float32s_precision():
    """That of `base`, with gradients from far above it to far below what float32's second moment can hold."""
    p = torch.nn.Parameter(torch.zeros(30))
    gradients = [torch.rand(30) * 10.0 ** -torch.arange(30) for _ in range(5)]
    expected = adamw(p.detach().double(), gradients, 0.01, 0.9, 0.999, 8.8e-11, 0.0)
    optimizer = build_optimizer(config(adam_betas=[0.9, 0.999], adam_eps=8.8e-11, weight_decay=0.0), [p])
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
    assert (p[:10] < -0.01).all()  # the gradient's size does not matter there
    torch.testing.assert_close(p.detach().double(), expected, rtol=1e-4, atol=1e-10)


def updates_of(sizes_of_updates):
    """Micro-batches of frames, some of whose inputs are so small that their gradients come near epsilon."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1.0, 1.0, 1e-4, 1e-7, 1e-8, 1e-9], dtype=torch.float64)
    for sizes in sizes_of_updates:
        x = [torch.randn(n, 6, generator=generator, dtype=torch.float64) * scales for n in sizes]
        yield [(batch, batch @ (2 / scales[:2].sum() * torch.ones(6, dtype=torch.float64))) for batch in x]


def summed_path(sizes_of_updates):
    """The authors': the loss summed over the frames of a micro-batch, averaged over micro-batches, clipped at 100."""
    w = torch.nn.Parameter(torch.ones(6, dtype=torch.float64) * 3)
    optimizer = torch.optim.AdamW([w], lr=0.02, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.05)
    norms = []
    for batches in updates_of(sizes_of_updates):
        loss = sum(((x @ w - y) ** 2).sum() for x, y in batches) / len(batches)
        (w.grad,) = torch.autograd.grad(loss, [w])
        norms.append(w.grad.norm().item())
        w.grad *= min(1.0, 100 / norms[-1])
        optimizer.step()
    return w.detach(), norms


def mean_path(sizes_of_updates, clip_norm, eps):
    """fairseq's, in float32: the gradients of all micro-batches over the number of their frames."""
    w = torch.nn.Parameter(torch.ones(6) * 3)
    optimizer = build_optimizer(config(adam_betas=[0.9, 0.999], adam_eps=eps, lr=[0.02]), [w])
    for batches in updates_of(sizes_of_updates):
        optimizer.zero_grad()
        for x, y in batches:
            optimizer.backward(((x.float() @ w - y.float()) ** 2).sum())
        optimizer.multiply_grads(1 / sum(len(x) for x, _ in batches))
        optimizer.clip_grad_norm(clip_norm)
        optimizer.step()
    return w.detach().double()


def test_constant_norm_is_the_summed_loss_path():
    """100 / n and 1e-6 / n for n frames a micro-batch, whether an update is clipped or not."""
    sizes = [[20, 20]] * 40
    expected, norms = summed_path(sizes)
    assert max(norms) > 110 and min(norms) < 90
    torch.testing.assert_close(mean_path(sizes, 100 / 20, 1e-6 / 20), expected, rtol=1e-5, atol=0)
    for clip_norm, eps in [(100.0, 1e-6 / 20), (100 / 20, 1e-6)]:
        assert ((mean_path(sizes, clip_norm, eps) - expected) / expected).abs().max() > 1e-3


def test_constant_norm_of_base_is_the_summed_loss_path_in_any_batch():
    """While each update is clipped, which it is in micro-batches of thousands of frames: only the ratio counts."""
    base = yaml.safe_load((ROOT / "examples/pretraining/base.yaml").read_text(encoding="utf-8"))
    sizes = [[2000 + 50 * update, 4000 - 30 * update] for update in range(40)]
    expected, norms = summed_path(sizes)
    assert min(norms) > 100
    ours = mean_path(sizes, base["optimization"]["clip_norm"], base["optimizer"]["adam_eps"])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)


def test_state_survives_a_checkpoint():
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
    resumed = build_optimizer(config(), [q])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for o in (optimizer, resumed):
        o.set_lr(0.02)
    train(p, optimizer, gradients[3:])
    train(q, resumed, gradients[3:])
    assert torch.equal(p, q)


def test_a_checkpoint_of_fairseqs_adam_goes_on():
    start, mean, square = torch.randn(5), torch.rand(5), torch.rand(5)
    p = torch.nn.Parameter(start.clone())
    state = {"step": 7, "exp_avg": mean.clone(), "exp_avg_sq": square.clone()}
    optimizer = build_optimizer(config(), [p])
    group = {"lr": 1e-3, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01, "amsgrad": False, "params": [0]}
    optimizer.load_state_dict({"state": {0: state}, "param_groups": [group]})
    optimizer.set_lr(config().lr[0])
    p.grad = torch.randn(5)
    optimizer.step()
    cfg = config()
    (first, second), lr = cfg.adam_betas, cfg.lr[0]
    m = (first * mean + (1 - first) * p.grad) / (1 - first**8)
    v = (second * square + (1 - second) * p.grad.square()) / (1 - second**8)
    expected = start - lr * (cfg.weight_decay * start + m / (v.sqrt() + cfg.adam_eps))
    torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-6)
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
            optimizer.load_state_dict(copy.deepcopy(state))
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


def test_a_run_that_goes_on_takes_its_own_settings():
    """The checkpoint has others; its rate is the schedule's. fairseq's own optimizers do the same."""
    state = build_optimizer(config(weight_decay=0.01), [torch.nn.Parameter(torch.ones(2))]).state_dict()
    state["param_groups"][0]["lr"] = 0.125
    resumed = build_optimizer(config(weight_decay=0.5), [torch.nn.Parameter(torch.ones(2))])
    resumed.load_state_dict(state)
    (group,) = resumed.param_groups
    assert (group["weight_decay"], group["lr"]) == (0.5, 0.125)
