"""Additive angular margin and cosine classifier against plain loops, outputs and gradients in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from reference import assert_near

from summarymixing_fairseq.probing.criterion import aam_logits
from summarymixing_fairseq.probing.heads.layers import CosineClassifier


def aam_loop(cosines, targets, margin, scale):
    """By the angle itself."""
    rows = []
    for row, target in zip(cosines, targets.tolist()):
        logits = []
        for c, cosine in enumerate(row):
            if c == target:
                theta = torch.arccos(cosine)
                within = theta + margin <= math.pi
                cosine = torch.cos(theta + margin) if within else cosine - margin * math.sin(margin)
            logits.append(scale * cosine)
        rows.append(torch.stack(logits))
    return torch.stack(rows)


@pytest.mark.parametrize("margin, scale", [(0.2, 30.0), (0.5, 64.0), (0.0, 10.0), (math.pi / 2, 1.0)])
def test_equals_the_loop(margin, scale):
    cosines = (torch.rand(60, 7, dtype=torch.float64) * 1.99 - 0.995).requires_grad_()
    targets = torch.randint(7, (60,))
    beyond = torch.arccos(cosines.detach().gather(1, targets[:, None])) + margin > math.pi
    assert margin < 0.2 or 0 < beyond.sum() < 60  # both cases are there
    actual = aam_logits(cosines, targets, margin, scale)
    expected = aam_loop(cosines, targets, margin, scale)
    assert_near(actual, expected, 1e-12)
    (a,) = torch.autograd.grad(F.cross_entropy(actual, targets), cosines)
    (e,) = torch.autograd.grad(F.cross_entropy(expected, targets), cosines)
    assert_near(a, e, 1e-12)


def test_no_margin_is_a_scaled_cosine_softmax():
    cosines = torch.tensor([[-1.0, 0.3, 1.0], [0.2, 1.0, -1.0], [0.9, 0.0, -1.0]], requires_grad=True)
    logits = aam_logits(cosines, torch.tensor([0, 1, 1]), margin=0.0, scale=30.0)
    assert torch.equal(logits, 30.0 * cosines)
    logits.sum().backward()
    assert torch.equal(cosines.grad, torch.full((3, 3), 30.0))


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0 + 1e-6, -1.0 - 1e-6, 1.0 - 6e-8])
def test_ends_of_the_range_are_finite(cosine):
    cosines = torch.tensor([[cosine, 0.1]], requires_grad=True)
    targets = torch.tensor([0])
    loss = F.cross_entropy(aam_logits(cosines, targets, 0.2, 30.0), targets)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(cosines.grad).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_out_in_float32(dtype):
    assert aam_logits(torch.rand(2, 3, dtype=dtype), torch.tensor([0, 2]), 0.2, 30.0).dtype == torch.float32
    classifier = CosineClassifier(8, 3)
    assert classifier.to(dtype)(torch.randn(2, 8, dtype=dtype)).dtype == torch.float32


def test_cosines_are_float32_under_autocast():
    classifier, x = CosineClassifier(64, 10), torch.randn(5, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier(x), classifier.float()(x.float()))
    assert_near(classifier(x), F.cosine_similarity(x[:, None], classifier.weight[None], dim=-1), 1e-6)
    assert_near(classifier(x), classifier(x * 7), 1e-6)


def test_cosine_of_a_zero_embedding_is_finite():
    x = torch.zeros(2, 4, requires_grad=True)
    y = CosineClassifier(4, 3)(x)
    y.sum().backward()
    assert (y == 0).all() and torch.isfinite(x.grad).all()
