"""Local self-attention against attention that hears its block and the blocks beside it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, randomise, self_attention


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("lengths", [[8, 8], [11, 6, 1]])
def test_outputs_and_gradients_equal_the_loops(window, lengths):
    attention = randomise(small_mixer("local", 6, 2, window=window))
    reference = partial(self_attention, num_heads=2, hears=lambda t, u: abs(t // window - u // window) <= 1)
    assert_equals_reference(attention, reference, lengths, 6, torch.float64, 1e-10)
