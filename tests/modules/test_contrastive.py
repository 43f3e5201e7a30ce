"""Negatives and InfoNCE against fairseq's own wav2vec 2.0 (arXiv 2006.11477, equation 3)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from reference import assert_near

from summarymixing_fairseq.modules.contrastive import info_nce_logits, sample_negatives

TEMPERATURE = 0.1


def fairseq_logits(context, targets, negatives):
    """fairseq's (1 + N, B, M) as (B, M, 1 + N)."""
    batch = torch.arange(len(targets))[:, None, None]
    gathered = targets[batch, negatives].permute(2, 0, 1, 3)  # (B, M, N, C) -> (N, B, M, C)
    stand_in = SimpleNamespace(logit_temp=TEMPERATURE)
    return Wav2Vec2Model.compute_preds(stand_in, context, targets, gathered).permute(1, 2, 0)


def inputs(num_codes: int, B: int = 3, M: int = 13, C: int = 6, N: int = 20):
    """Targets that repeat where their code does."""
    codes = torch.randint(num_codes, (B, M))
    targets = torch.randn(num_codes, C)[codes].requires_grad_()
    context = torch.randn(B, M, C, requires_grad=True)
    return context, targets, codes, sample_negatives(B, M, N)


def loss_of(logits: torch.Tensor) -> torch.Tensor:
    logits = logits.flatten(0, 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="sum")


@pytest.mark.parametrize("num_codes", [10_000, 4], ids=["codes_differ", "negatives_equal_to_the_positive"])
def test_equals_fairseq(num_codes):
    context, targets, codes, negatives = inputs(num_codes)
    expected = fairseq_logits(context, targets, negatives)
    actual = info_nce_logits(context, targets, codes, negatives, TEMPERATURE)
    assert torch.equal(actual.isinf(), expected.isinf())
    assert bool(actual.isinf().any()) == (num_codes == 4)
    finite = expected.isfinite()
    assert_near(actual[finite], expected[finite], 1e-5)
    assert_near(loss_of(actual), loss_of(expected), 1e-5)
    gradients = torch.autograd.grad(loss_of(actual), [context, targets])
    expected_gradients = torch.autograd.grad(loss_of(expected), [context, targets])
    for a, e in zip(gradients, expected_gradients):
        assert_near(a, e, 1e-5)


def test_a_single_code_gives_no_loss_and_no_nan():
    """All negatives fall away: what a collapsed quantizer gives."""
    context, targets, codes, negatives = inputs(1)
    logits = info_nce_logits(context, targets, codes, negatives, TEMPERATURE)
    assert logits[..., 1:].isinf().all()
    loss = loss_of(logits)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(context.grad).all() and torch.isfinite(targets.grad).all()


def test_zero_vectors_are_finite():
    context, targets, codes, negatives = inputs(10_000)
    logits = info_nce_logits(context * 0, targets * 0, codes, negatives, TEMPERATURE)
    assert (logits[torch.isfinite(logits)] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_always_in_float32(dtype):
    context, targets, codes, negatives = inputs(10_000)
    halves = context.to(dtype), targets.to(dtype)
    expected = info_nce_logits(*(h.float() for h in halves), codes, negatives, TEMPERATURE)
    with torch.autocast("cpu", torch.bfloat16):
        actual = info_nce_logits(*halves, codes, negatives, TEMPERATURE)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("num_masked", [2, 3, 40])
def test_negatives_are_other_frames(num_masked):
    negatives = sample_negatives(5, num_masked, 50)
    assert negatives.shape == (5, num_masked, 50) and negatives.dtype == torch.int64
    assert negatives.min() >= 0 and negatives.max() < num_masked
    assert (negatives != torch.arange(num_masked)[None, :, None]).all()


def test_negatives_are_uniform():
    """Chi-square of every frame's draws over the 9 others, 80 degrees of freedom, with six deviations of leeway."""
    num_masked, draws = 10, 9_000
    negatives = sample_negatives(1, num_masked, draws)[0]
    expected = draws / (num_masked - 1)
    statistic = 0.0
    for own, row in enumerate(negatives):
        counts = torch.bincount(row, minlength=num_masked).double()
        others = torch.cat([counts[:own], counts[own + 1 :]])
        statistic += ((others - expected) ** 2 / expected).sum().item()
    degrees = num_masked * (num_masked - 2)
    assert abs(statistic - degrees) < 6 * (2 * degrees) ** 0.5


@pytest.mark.parametrize("num_masked", [0, 1])
def test_nothing_to_draw_from(num_masked):
    with pytest.raises(ValueError, match=rf"{num_masked} masked frame\(s\).*at least 2"):
        sample_negatives(2, num_masked, 5)
