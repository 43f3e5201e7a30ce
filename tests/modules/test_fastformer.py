"""Fastformer against its formula written out (arXiv 2108.09084, section 3.1)."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, float32, float64, linear, randomise, scaled_product, softmax_mean


def pool(score, frames):
    return softmax_mean([scaled_product(score, frame) for frame in frames], frames)


def fastformer(p, x, num_heads):
    queries, keys = torch.stack([linear(p, "in_proj", frame) for frame in x]).chunk(2, 1)
    width = x.size(1) // num_heads
    heads = []
    for h in range(num_heads):
        q, k = (z[:, h * width : (h + 1) * width] for z in (queries, keys))
        global_query = pool(p["score_query"][h], q)
        products = torch.stack([global_query * key for key in k])
        global_key = pool(p["score_key"][h], products)
        heads.append(torch.stack([global_key * value for value in q]))
    mixed = torch.cat(heads, 1)
    return torch.stack([linear(p, "out_proj", mixed[t]) + queries[t] for t in range(len(x))])


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [5, 5]), (6, 1, [7, 3, 1])])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("fastformer", dim, num_heads))
    assert_equals_reference(mixer, partial(fastformer, num_heads=num_heads), lengths, dim, dtype, tolerance)
