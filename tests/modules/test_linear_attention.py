"""Linear attention against its weights written out (arXiv 2006.16236, equation 4)."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, assert_near, float32, float64, kernelised_attention, randomise


def weight(q, k, h, t, u):
    q, k = (torch.where(x > 0, x + 1, x.clamp(max=0).exp()) for x in (q[t], k[u]))  # elu + 1
    return (q * k).sum()


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [5, 5]), (6, 1, [6, 3, 1])])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("linear_attention", dim, num_heads))
    reference = partial(kernelised_attention, num_heads=num_heads, weight=weight)
    assert_equals_reference(mixer, reference, lengths, dim, dtype, tolerance)


def test_sums_over_a_long_clip_stay_in_the_range_of_half_precision():
    """Of 3,000 frames they are beyond 65,504, the largest number of float16."""
    mixer = randomise(small_mixer("linear_attention", 16, 2))
    x = torch.randn(1, 3000, 16) + 3
    with torch.autocast("cpu", torch.float16):
        assert_near(mixer(x).float(), mixer.double()(x.double()), 2e-2)
