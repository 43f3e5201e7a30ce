"""The convolutional gating MLP against its formula, written out as loops."""

from __future__ import annotations

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, gelu, layer_norm, linear, randomise
from torch import nn

from summarymixing_fairseq.system.options import Refused


def gating_mlp(p, x):
    hidden = [gelu(linear(p, "expand", frame)) for frame in x]
    kernel = p["depthwise.weight"][:, 0]  # (hidden / 2, kernel size)
    half, reach = kernel.size(0), kernel.size(1) // 2
    outputs = []
    for t, frame in enumerate(hidden):
        gate = p["depthwise.bias"]
        for k in range(kernel.size(1)):
            if 0 <= t + k - reach < len(x):
                gate = gate + kernel[:, k] * layer_norm(p, "norm", hidden[t + k - reach][half:])
        outputs.append(linear(p, "project", frame[:half] * gate))
    return torch.stack(outputs)


@pytest.mark.parametrize("lengths", [[8, 8], [9, 4, 1]])
def test_outputs_and_gradients_equal_the_loops(lengths):
    mixer = randomise(small_mixer("cgmlp", 6, hidden_dim=10, kernel_size=5))
    nn.init.normal_(mixer.depthwise.weight)  # at its start it has no effect
    assert_equals_reference(mixer, gating_mlp, lengths, 6, torch.float64, 1e-10)


@pytest.mark.parametrize("options, message", [({"hidden_dim": 7}, "must be even"), ({"kernel_size": 4}, "must be odd")])
def test_refused(options, message):
    with pytest.raises(Refused, match=message):
        small_mixer("cgmlp", 8, **options)
