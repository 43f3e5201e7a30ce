"""cosFormer against its weights written out (arXiv 2202.08791, section 3)."""

from __future__ import annotations

import math
from functools import partial

import pytest
from mixers import small_mixer
from reference import assert_equals_reference, float32, float64, kernelised_attention, randomise, relu


def weight(q, k, h, t, u):
    """With M the length of this clip: in a padded batch each clip has its own."""
    return (relu(q[t]) * relu(k[u])).sum() * math.cos(math.pi / 2 * (t - u) / len(q))


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [5, 5]), (6, 1, [7, 3, 1])])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("cosformer", dim, num_heads))
    reference = partial(kernelised_attention, num_heads=num_heads, weight=weight)
    assert_equals_reference(mixer, reference, lengths, dim, dtype, tolerance)
