"""The rivals compute the same as what they are compared with."""

from __future__ import annotations

import pytest
import torch
from mixers import small_mixer
from reference import assert_near, padding_of

from summarymixing_fairseq.benchmarks import rivals
from summarymixing_fairseq.modules.contrastive import info_nce_logits
from summarymixing_fairseq.modules.mixing.heads import HeadOptions

SIZES = (HeadOptions(num_heads=4), 16, 0.0)


@pytest.mark.parametrize("padding", [None, padding_of([7, 4])], ids=["full", "padded"])
def test_softmax_attention_is_the_registered_attention(padding):
    ours, rival = small_mixer("mhsa", 16, 4), rivals.SoftmaxAttention(*SIZES)
    rival.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 16)
    valid = slice(None) if padding is None else ~padding
    assert_near(rival(x, padding)[valid], ours(x, padding)[valid], 1e-5)


@pytest.mark.parametrize("padding", [None, padding_of([7, 4])], ids=["full", "padded"])
def test_literal_cell_is_the_registered_cell(padding):
    ours, rival = small_mixer("summarymixing", 16, 4), rivals.LiteralCell(*SIZES)
    layers = (ours.local.inner, ours.local.outer, ours.summary.inner, ours.summary.outer)
    with torch.no_grad():
        for layer, weight, bias in zip(layers, rival.weights, rival.biases):
            weight.copy_(layer.weight)
            bias.normal_()
            layer.bias.copy_(bias)
    rival.combiner.load_state_dict(ours.combiner.state_dict())
    x = torch.randn(2, 7, 16)
    valid = slice(None) if padding is None else ~padding
    assert_near(rival(x, padding)[valid], ours(x, padding)[valid], 1e-5)


def test_fairseqs_objective_stands_behind_the_same_signatures():
    """With all other frames as negatives, in whatever order, both have the same similarities."""
    B, M, N = 2, 5, 400
    context, targets = torch.randn(B, M, 8), torch.randn(B, M, 8)
    negatives = rivals.sample_negatives(B, M, N)
    logits = rivals.info_nce_logits(context, targets, torch.arange(M).expand(B, M), negatives, 0.1)
    assert logits.shape == (B, M, 1 + N)
    others = torch.tensor([[u for u in range(M) if u != t] for t in range(M)]).expand(B, M, M - 1)
    expected = info_nce_logits(context, targets, torch.arange(M).expand(B, M), others, 0.1)
    assert_near(logits[..., 0], expected[..., 0], 1e-5)
    for b in range(B):
        for t in range(M):
            drawn = torch.unique((logits[b, t, 1:] * 1e4).round())
            assert_near(drawn / 1e4, expected[b, t, 1:].sort().values, 1e-3)
