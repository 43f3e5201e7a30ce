"""SummaryMixing with a window against its formula, written out as loops."""

from __future__ import annotations

import pytest
import torch
from mixers import small_mixer
from reference import (
    assert_equals_reference,
    assert_near,
    float32,
    float64,
    gelu,
    head_mlp,
    layer_norm,
    linear,
    padding_of,
    randomise,
)

from summarymixing_fairseq.modules.mixing.windowed_summarymixing import windowed_mean


def cell(p, x, window):
    values = [head_mlp(p, "summary", frame, gelu) for frame in x]
    s = layer_norm(p, "summary_norm", sum(values) / len(values))
    outputs = []
    for t, frame in enumerate(x):
        near = values[max(0, t - window) : t + window + 1]
        w = layer_norm(p, "window_norm", sum(near) / len(near))
        f = layer_norm(p, "local_norm", head_mlp(p, "local", frame, gelu))
        outputs.append(gelu(linear(p, "combiner", torch.cat([f, s, w]))))
    return torch.stack(outputs)


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("window", [1, 3, 40])
@pytest.mark.parametrize("lengths", [[9, 9], [8, 3, 1]])
def test_outputs_and_gradients_equal_the_loops(lengths, window, dtype, tolerance):
    mixer = randomise(small_mixer("windowed_summarymixing", 8, 2, window=window))
    assert_equals_reference(mixer, lambda p, x: cell(p, x, window), lengths, 8, dtype, tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.bfloat16, 4e-3)])
def test_a_window_at_the_end_of_an_hour(dtype, tolerance):
    """A running sum of float32 would be off by a percent there."""
    x = torch.rand(1, 180_000, 2) + 1
    mean = windowed_mean(x.to(dtype), padding_of([180_000]), 25)
    for t in (0, 90_000, 179_990, 179_999):
        assert_near(mean[0, t], x[0, max(0, t - 25) : t + 26].double().mean(0), tolerance)
