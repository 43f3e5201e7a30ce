"""Rotary self-attention against its scores, which depend on the distance of two frames alone."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, randomise, self_attention


def rotated_product(q, k, head, t, u):
    half, total = len(q) // 2, 0.0
    for i in range(half):
        angle = (t - u) / 10_000 ** (2 * i / len(q))
        total = total + (q[i] * k[i] + q[i + half] * k[i + half]) * math.cos(angle)
        total = total + (q[i] * k[i + half] - q[i + half] * k[i]) * math.sin(angle)
    return (total + (q[2 * half :] * k[2 * half :]).sum()) / math.sqrt(len(q))


@pytest.mark.parametrize("dim, num_heads", [(16, 2), (9, 3)])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 3, 1]])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths):
    attention = randomise(small_mixer("rope_mhsa", dim, num_heads))
    reference = partial(self_attention, num_heads=num_heads, score=rotated_product)
    assert_equals_reference(attention, reference, lengths, dim, torch.float64, 1e-6)
