"""The weighted sum of hidden states, against a loop over states, frames and channels."""

from __future__ import annotations

import math

import pytest
import torch
from reference import assert_near

from summarymixing_fairseq.probing.weighted_sum import WeightedSum, normalise_states


def states_of(num_states: int, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(2, 5, 4, dtype=dtype) * (n + 1) for n in range(num_states)]


def loop(logits: torch.Tensor, states: list[torch.Tensor]) -> torch.Tensor:
    """sum_l exp(w_l) h_l / sum_l exp(w_l), one number after the other."""
    exponentials = [logit.exp() for logit in logits]
    frames = []
    for b in range(states[0].size(0)):
        for t in range(states[0].size(1)):
            for d in range(states[0].size(2)):
                terms = [e * state[b, t, d] for e, state in zip(exponentials, states)]
                frames.append(sum(terms) / sum(exponentials))
    return torch.stack(frames).view(states[0].shape)


def test_value_and_gradients_equal_the_loop():
    weighted_sum = WeightedSum(3).double()
    with torch.no_grad():
        weighted_sum.logits.copy_(torch.tensor([0.3, -1.2, 0.9]))
    states = [state.requires_grad_() for state in states_of(3, torch.float64)]
    # the weights are float32 at the softmax
    expected = loop(weighted_sum.logits, states)
    output_gradient = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * output_gradient).sum(), [weighted_sum.logits, *states])
    output = weighted_sum(states)
    assert_near(output, expected, 1e-6)
    gradients = torch.autograd.grad((output * output_gradient).sum(), [weighted_sum.logits, *states])
    for gradient, reference in zip(gradients, wanted):
        assert_near(gradient, reference, 1e-6)


@pytest.mark.parametrize("layer", range(4))
def test_one_hot_weights_give_that_layer(layer):
    states, weighted_sum = states_of(4), WeightedSum(4)
    weighted_sum.logits.data[layer] = 200.0
    assert torch.equal(weighted_sum(states), states[layer])


def test_half_precision():
    states = [state.half() for state in states_of(2)]
    assert WeightedSum(2)(states).dtype == torch.float16
    assert normalise_states(states)[0].dtype == torch.float32


@pytest.mark.parametrize("number", [2, 4])
def test_another_number_of_states_is_refused(number):
    with pytest.raises(ValueError, match=rf"{number} hidden states for 3 weights"):
        WeightedSum(3)(states_of(number))


def test_no_state_is_refused():
    with pytest.raises(ValueError, match="num_states=0: must be at least 1"):
        WeightedSum(0)


def test_normalised_states_against_a_loop():
    states = states_of(2)
    for state, normalised in zip(states, normalise_states(states)):
        assert normalised.shape == state.shape
        for vector, own in zip(state.flatten(0, 1).tolist(), normalised.flatten(0, 1).tolist()):
            mean = sum(vector) / len(vector)
            variance = sum((value - mean) ** 2 for value in vector) / len(vector)
            assert own == pytest.approx([(value - mean) / math.sqrt(variance + 1e-5) for value in vector], abs=1e-5)
