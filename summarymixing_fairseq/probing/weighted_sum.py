"""Weighted sum of an encoder's hidden states, with weights that a probe learns (Peters et al., 2018, Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def normalise_states(states: Sequence[Tensor]) -> list[Tensor]:
    """LayerNorm without parameters over the last dimension of each hidden state (..., D), in float32."""
    return [F.layer_norm(state.float(), state.shape[-1:]) for state in states]


class WeightedSum(nn.Module):
    """sum_l softmax(w)_l h_l, with w = 0 at the start; without ELMo's scale, as in MP3S (arXiv 2308.14456).

    Args:
        num_states: hidden states to weigh.
    """

    def __init__(self, num_states: int):
        super().__init__()
        if num_states < 1:
            raise ValueError(f"num_states={num_states}: must be at least 1")
        self.logits = nn.Parameter(torch.zeros(num_states))

    def weights(self) -> Tensor:
        """(num_states,) positive, their sum 1."""
        return torch.softmax(self.logits.float(), 0)

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """(..., D) for each state -> (..., D).

        Raises:
            ValueError: for another number of states.
        """
        if len(states) != len(self.logits):
            raise ValueError(f"{len(states)} hidden states for {len(self.logits)} weights")
        weights = self.weights().to(states[0].dtype).unbind()
        # one state at a time: stacking would copy all of them
        total = states[0] * weights[0]
        for state, weight in zip(states[1:], weights[1:]):
            total = torch.addcmul(total, state, weight)
        return total
