"""HyperMixing against its formula, written out as loops."""

from __future__ import annotations

import math

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, gelu, head_linear, layer_norm, part, randomise

from summarymixing_fairseq.modules.mixing.registry import OPTIONS
from summarymixing_fairseq.system.options import Refused

DIM, HEADS, HIDDEN = 6, 2, 8


def rows(p, x):
    """Weights that the hypernetwork makes of each frame."""
    made = []
    for t, frame in enumerate(x):
        angles = [t / 10_000 ** (2 * (i // 2) / DIM) for i in range(DIM)]
        place = torch.tensor([math.cos(a) if i % 2 else math.sin(a) for i, a in enumerate(angles)])
        made.append(head_linear(p, "outer", gelu(head_linear(p, "inner", frame + place))))
    return made


def hyper_mixing(p, x):
    first = rows(part(p, "first"), x)
    second = rows(part(p, "second"), x) if "second.inner.weight" in p else first
    outputs = [torch.zeros(DIM, dtype=x.dtype) for _ in x]
    for head in range(HEADS):
        here = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
        for unit in range(head * HIDDEN // HEADS, (head + 1) * HIDDEN // HEADS):
            hidden = gelu(sum(w[unit] * frame[here] for w, frame in zip(first, x)))
            for y, w in zip(outputs, second):
                y[here] = y[here] + w[unit] * hidden / len(x)
    return torch.stack([layer_norm(p, "norm", y) for y in outputs])


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("lengths", [[5, 5], [6, 3, 1]])
def test_outputs_and_gradients_equal_the_loops(tied, lengths):
    mixer = randomise(small_mixer("hypermixing", DIM, HEADS, hidden_dim=HIDDEN, tied=tied))
    assert_equals_reference(mixer, hyper_mixing, lengths, DIM, torch.float64, 1e-5)


def test_sums_over_a_long_clip_do_not_overflow_in_float16():
    mixer = randomise(small_mixer("hypermixing", 16, 2, hidden_dim=32)).eval()
    x = torch.full((1, 20_000, 16), 3.0)
    with torch.no_grad():
        expected, y = mixer(x), mixer.half()(x.half())
    assert torch.isfinite(y).all() and (y - expected).abs().mean() < 2e-2


def test_refused():
    with pytest.raises(Refused, match=r"hidden_dim=9: must be a multiple of num_heads=2"):
        OPTIONS["hypermixing"](num_heads=2, hidden_dim=9).check(8)
