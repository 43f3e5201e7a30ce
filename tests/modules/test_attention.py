"""Self-attention against a softmax written out as loops."""

from __future__ import annotations

from functools import partial

import pytest
from mixers import small_mixer
from reference import assert_equals_reference, float32, float64, randomise, self_attention


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads", [(16, 4), (6, 1), (9, 3)])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 3, 1], [1]])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    attention = randomise(small_mixer("mhsa", dim, num_heads))
    assert_equals_reference(attention, partial(self_attention, num_heads=num_heads), lengths, dim, dtype, tolerance)
