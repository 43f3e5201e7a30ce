"""What every registered mixer must hold, whatever its formula."""

from __future__ import annotations

import copy
import io
from dataclasses import asdict, fields
from typing import Any

import pytest
import torch
from reference import assert_near, padding_of, randomise
from torch import nn
from torch.utils.checkpoint import checkpoint

from summarymixing_fairseq.modules.mixing import MIXERS, OPTIONS, build_mixer

DIM = 16
# Every registered mixer with its default options, and modes that mix frames in another way.
CASES: dict[str, dict[str, Any]] = {
    **{name: {} for name in sorted(MIXERS)},
    "summarymixing lite": {"mode": "lite"},
    "summarymixing expdecay": {"mode": "expdecay"},
    "local narrow": {"window": 4},
    "bigbird narrow": {"window": 4, "global_blocks": 1, "random_blocks": 2},
    "hypermixing tied": {"tied": True, "hidden_dim": 16, "num_heads": 2},
}
every_mixer = pytest.mark.parametrize("name", CASES)


def options_of(name: str) -> Any:
    return OPTIONS[name.split()[0]](**CASES[name])


def build(name: str, dropout: float = 0.0) -> nn.Module:
    """A mixer, its norms and biases away from their start."""
    options = asdict(options_of(name))
    return randomise(build_mixer(name.split()[0], embed_dim=DIM, dropout=dropout, **options))


@every_mixer
def test_padding_is_exact(name):
    """Valid frames of a batch equal each clip alone, with garbage in the padding."""
    mixer, lengths = build(name).eval(), [90, 41, 1]
    padding = padding_of(lengths)
    x = torch.randn(3, 90, DIM)
    y = mixer(x.masked_fill(padding[..., None], 3e4), padding)
    assert torch.isfinite(y).all()
    for row, length in enumerate(lengths):
        assert_near(y[row, :length], mixer(x[row : row + 1, :length])[0], 1e-5)


@every_mixer
def test_a_clip_without_a_valid_frame(name):
    mixer = build(name)
    x = torch.randn(2, 70, DIM, requires_grad=True)
    y = mixer(x, padding_of([70, 0]))
    assert torch.isfinite(y).all()
    y[0].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [x, *mixer.parameters()] if p.grad is not None)
    assert_near(y[0], mixer(x[:1])[0], 1e-5)


@every_mixer
def test_non_contiguous_input(name):
    mixer, x = build(name), torch.randn(DIM, 5, 2).permute(2, 1, 0)  # (D, T, B) -> (B, T, D)
    assert not x.is_contiguous()
    assert_near(mixer(x), mixer(x.contiguous()), 1e-6)


@every_mixer
def test_deepcopy_and_saving(name):
    mixer, file = build(name).eval(), io.BytesIO()
    torch.save(mixer, file)
    file.seek(0)
    x = torch.randn(1, 5, DIM)
    resumed = build(name).eval()  # with random features and blocks of its own, until it takes those of the checkpoint
    resumed.load_state_dict(mixer.state_dict())
    for twin in (copy.deepcopy(mixer), torch.load(file, weights_only=False), resumed):
        assert torch.equal(twin(x), mixer(x))


@every_mixer
@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 2, 63, 64, 65, 500, pytest.param(30_000, marks=pytest.mark.long)])
def test_any_length(name, num_frames):
    """The last is a clip of ten minutes; beyond the longest that a mixer claims it says so."""
    if name == "relpos_mhsa":
        num_frames = min(num_frames, 3000)  # at 30,000 its tables would be 58 GB
    mixer, x = build(name).eval(), torch.randn(1, num_frames, DIM)
    if num_frames > getattr(mixer, "max_frames", num_frames):
        with pytest.raises(ValueError, match=rf"{num_frames} frames.*max_frames={mixer.max_frames}"):
            mixer(x)
        return
    y = mixer(x)
    assert y.shape == (1, num_frames, DIM) and torch.isfinite(y).all()


@every_mixer
def test_gradients_equal_those_of_float64(name):
    mixer, padding = build(name), padding_of([30, 12])
    exact = copy.deepcopy(mixer).double()
    x = torch.randn(2, 30, DIM, requires_grad=True)
    wide = x.detach().double().requires_grad_()
    direction = torch.randn(2, 30, DIM).masked_fill(padding[..., None], 0.0)
    (mixer(x, padding) * direction).sum().backward()
    (exact(wide, padding) * direction.double()).sum().backward()
    assert_near(x.grad, wide.grad, 1e-4)
    for (key, parameter), other in zip(mixer.named_parameters(), exact.parameters()):
        if other.grad is not None:
            assert_near(parameter.grad, other.grad, 1e-4, key)


@every_mixer
@pytest.mark.parametrize(
    "dtype, autocast", [(torch.bfloat16, False), (torch.float16, True)], ids=["bfloat16 weights", "float16 autocast"]
)
def test_half_precision_is_finite_and_near(name, dtype, autocast):
    mixer, padding = build(name), padding_of([300, 7])
    x = torch.randn(2, 300, DIM, requires_grad=True)
    expected = mixer(x, padding)
    half = copy.deepcopy(mixer) if autocast else copy.deepcopy(mixer).to(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        y = half(x if autocast else x.to(dtype), padding)
    y.float().square().mean().backward()
    assert torch.isfinite(y).all() and (autocast or y.dtype == dtype)
    assert all(torch.isfinite(p.grad).all() for p in [x, *half.parameters()] if p.grad is not None)
    # what mixers add at their start is 0.005 (linformer) and more
    assert (y.float() - expected)[~padding].abs().mean() < (2e-3 if autocast else 6e-3)


@every_mixer
def test_no_state_between_calls(name):
    mixer = build(name).eval()
    x = torch.randn(2, 40, DIM)
    before = {key: value.clone() for key, value in mixer.state_dict().items()}
    first = mixer(x)
    mixer(torch.randn(1, 7, DIM))
    mixer.train()(torch.randn(1, 9, DIM))
    assert torch.equal(mixer.eval()(x), first)
    assert all(torch.equal(value, before[key]) for key, value in mixer.state_dict().items())


@every_mixer
def test_recomputing_gives_the_same(name):
    """Outputs and gradients, dropout included."""
    mixer, padding = build(name, dropout=0.3).train(), padding_of([30, 12])
    results = []
    for again in (False, True):
        mixer.zero_grad()
        x = torch.linspace(-1, 1, 2 * 30 * DIM).view(2, 30, DIM).requires_grad_()
        torch.manual_seed(5)
        y = checkpoint(mixer, x, padding, use_reentrant=False) if again else mixer(x, padding)
        y.square().sum().backward()
        results.append([y.detach(), x.grad, *(p.grad.clone() for p in mixer.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*results))


@every_mixer
def test_dropout_acts_in_training_alone(name):
    made, x = [], torch.randn(1, 30, DIM)
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        made.append(build(name, dropout))
    plain, dropping = made
    assert torch.equal(dropping.eval()(x), plain(x))
    first, second = dropping.train()(x), dropping(x)
    assert torch.equal(first, second) == (name in ("none", "summarymixing lite"))  # which have none


@every_mixer
def test_every_option_has_a_help_text(name):
    options_of(name).check(DIM)
    assert all(len(field.metadata["help"]) > 10 for field in fields(options_of(name)))


def test_an_unknown_mixer():
    with pytest.raises(ValueError, match=r"mixer='hyper': choose one of .*mhsa, .*summarymixing"):
        build_mixer("hyper", embed_dim=8, dropout=0.0)
