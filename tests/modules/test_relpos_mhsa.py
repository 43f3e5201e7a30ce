"""Self-attention with relative positions against Transformer-XL's four terms."""

from __future__ import annotations

import math

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, randomise, self_attention


def relative(p, x, num_heads):
    dim = x.size(1)

    def score(q, k, head, t, u):
        r = torch.zeros(dim, dtype=x.dtype)
        for i in range(dim):
            angle = (t - u) / 10_000 ** (2 * (i // 2) / dim)
            r[i] = math.cos(angle) if i % 2 else math.sin(angle)
        here = slice(head * len(q), (head + 1) * len(q))
        a, b, place = p["content_bias"][here], p["position_bias"][here], (p["position_proj.weight"] @ r)[here]
        return ((q * k).sum() + (q * place).sum() + (a * k).sum() + (b * place).sum()) / math.sqrt(len(q))

    return self_attention(p, x, num_heads, score)


@pytest.mark.parametrize("dim, num_heads", [(8, 2), (9, 3)])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 3, 1], [1]])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths):
    attention = randomise(small_mixer("relpos_mhsa", dim, num_heads))
    assert_equals_reference(attention, lambda p, x: relative(p, x, num_heads), lengths, dim, torch.float64, 1e-6)
