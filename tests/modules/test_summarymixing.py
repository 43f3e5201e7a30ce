"""The SummaryMixing cell against its formula (arXiv 2407.13377, section 2), written out as loops."""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import (
    assert_equals_reference,
    assert_near,
    float32,
    float64,
    randomise,
    summary_mixing,
)

from summarymixing_fairseq.modules.mixing.summarymixing import MODES

in_float32_and_64 = pytest.mark.parametrize("dtype, tolerance", [float32, float64])
in_all_modes = pytest.mark.parametrize("mode", MODES)


NORMS, LENGTHS = (True, False), ([6, 6], [7, 3, 1])
WIDTHS = {"local_hidden_dim": 8, "local_out_dim": 6, "summary_hidden_dim": 10, "summary_out_dim": 4}
ODD_SIZES = [(7, 1, [3, 2]), (7, 7, [4]), (8, 2, [1]), (8, 1, [1, 1])]
# Options of a cell, its width and the lengths of the clips.
CELLS = [
    *(({"num_heads": 4, "mode": m, "layer_norm": n}, 16, t) for m, n, t in itertools.product(MODES, NORMS, LENGTHS)),
    *(({"num_heads": h, "mode": mode}, dim, t) for mode in MODES for dim, h, t in ODD_SIZES),
    *(({"num_heads": 2, "mode": mode, **WIDTHS}, 12, [5, 2]) for mode in ("full", "expdecay", "local", "global")),
    *(({"num_heads": 2, "activation": name}, 8, [5, 2]) for name in ("relu", "swish", "none")),
    ({"num_heads": 2, "mode": "expdecay"}, 4, [130, 64]),  # several blocks of the scan
    *(({"num_heads": 2, "mode": mode, "gate": True}, 8, [5, 2]) for mode in ("full", "expdecay", "sum")),
]


@in_float32_and_64
@pytest.mark.parametrize("options, dim, lengths", CELLS, ids=str)
def test_outputs_and_gradients_equal_the_loops(options, dim, lengths, dtype, tolerance):
    cell = randomise(small_mixer("summarymixing", dim, **options))
    formula = {name: options[name] for name in ("mode", "activation") if name in options}
    assert_equals_reference(cell, partial(summary_mixing, **formula), lengths, dim, dtype, tolerance)


def test_a_gate_that_has_learned_nothing_changes_nothing():
    gated, plain = small_mixer("summarymixing", 8, 2, gate=True), small_mixer("summarymixing", 8, 2)
    plain.load_state_dict({name: weight for name, weight in gated.state_dict().items() if name != "gate_logit"})
    x = torch.randn(2, 5, 8)
    assert torch.equal(gated(x), plain(x))


def test_autocast_keeps_the_branches_in_low_precision():
    """As ``nn.Linear``; otherwise what the backward pass keeps of the cell is 40 % larger."""
    branch = small_mixer("summarymixing", 16, 4).local
    with torch.autocast("cpu", torch.bfloat16):
        assert branch(torch.randn(4, 3, 4)).dtype == torch.bfloat16


def test_dropout_falls_on_both_halves_of_the_concatenation():
    """With everything dropped, only the bias and the activation are left."""
    cell = randomise(small_mixer("summarymixing", 8, 2, dropout=1.0))
    x = torch.randn(2, 5, 8)
    expected = torch.nn.functional.gelu(cell.combiner.bias).expand(2, 5, 8)
    assert_near(cell.train()(x), expected, 1e-6)
    assert (cell.eval()(x) - expected).abs().max() > 1e-2


@in_all_modes
def test_memory_grows_linearly(mode):
    """Twice the frames, at most twice the largest tensor kept for the backward pass."""
    cell = small_mixer("summarymixing", 8, 2, mode=mode)

    def largest_saved(num_frames: int) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            cell(torch.randn(1, num_frames, 8, requires_grad=True))
        return max(sizes)

    assert largest_saved(2560) <= 2 * largest_saved(1280)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mode": "half"}, r"mode='half': choose one of full, lite, expdecay, local, global, sum"),
        ({"activation": "tanh"}, r"activation='tanh': choose one of gelu, relu, swish"),
        ({"num_heads": 3}, r"num_heads=3: must divide encoder_embed_dim=8"),
        ({"num_heads": 0}, r"num_heads=0: must be at least 1"),
        ({"num_heads": 2, "local_hidden_dim": 5}, r"local_hidden_dim=5: must be a multiple of the 2 heads"),
        ({"num_heads": 2, "mode": "lite", "summary_out_dim": 4}, r"summary_out_dim=4: in mode lite it must be .*=8"),
        ({"num_heads": 2, "mode": "sum", "local_out_dim": 4}, r"local_out_dim=4: in mode sum it must be .*=8"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        small_mixer("summarymixing", 8, **arguments)
