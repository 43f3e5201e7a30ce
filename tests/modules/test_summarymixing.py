"""The SummaryMixing cell against its formula (arXiv 2407.13377, section 2), written out as loops."""

from __future__ import annotations

import copy
import io
import itertools
from functools import partial

import pytest
import torch
from reference import (
    assert_equals_reference,
    assert_near,
    float32,
    float64_of_a_mean,
    padding_of,
    randomise,
    summary_mixing,
)

from summarymixing_fairseq.modules.mixing.summarymixing import SummaryMixing

MODES = ("full", "lite", "expdecay")
in_float32_and_64 = pytest.mark.parametrize("dtype, tolerance", [float32, float64_of_a_mean])
in_all_modes = pytest.mark.parametrize("mode", MODES)


@in_float32_and_64
@in_all_modes
@pytest.mark.parametrize("layer_norm", [True, False], ids=["norm", "no_norm"])
@pytest.mark.parametrize("lengths", [[6, 6], [7, 3, 1]], ids=["full_batch", "padded"])
def test_outputs_and_gradients_equal_the_loops(mode, layer_norm, lengths, dtype, tolerance):
    cell = randomise(SummaryMixing(16, num_heads=4, mode=mode, layer_norm=layer_norm))
    assert_equals_reference(cell, partial(summary_mixing, mode=mode), lengths, 16, dtype, tolerance)


@in_float32_and_64
@pytest.mark.parametrize("mode", ["full", "expdecay"])
def test_unequal_widths(mode, dtype, tolerance):
    cell = SummaryMixing(
        12, 2, mode=mode, local_hidden_dim=8, local_out_dim=6, summary_hidden_dim=10, summary_out_dim=4
    )
    assert cell.combiner.weight.shape == (12, 6 + 4)
    assert_equals_reference(randomise(cell), partial(summary_mixing, mode=mode), [5, 2], 12, dtype, tolerance)


@in_float32_and_64
@pytest.mark.parametrize("activation", ["relu", "swish"])
def test_other_activations(activation, dtype, tolerance):
    cell = randomise(SummaryMixing(8, 2, activation=activation))
    assert_equals_reference(cell, partial(summary_mixing, activation=activation), [5, 2], 8, dtype, tolerance)


@in_all_modes
@pytest.mark.parametrize("dim, num_heads, lengths", [(7, 1, [3, 2]), (7, 7, [4]), (8, 2, [1]), (8, 1, [1, 1])])
def test_odd_widths_one_head_one_frame(mode, dim, num_heads, lengths):
    cell = randomise(SummaryMixing(dim, num_heads, mode=mode))
    assert_equals_reference(cell, partial(summary_mixing, mode=mode), lengths, dim, torch.float32, 1e-5)


def test_expdecay_over_several_blocks_of_the_scan():
    cell = randomise(SummaryMixing(4, 2, mode="expdecay"))
    assert_equals_reference(cell, partial(summary_mixing, mode="expdecay"), [130, 64], 4, torch.float32, 1e-5)


@in_all_modes
def test_non_contiguous_input(mode):
    cell = randomise(SummaryMixing(8, 2, mode=mode))
    x = torch.randn(8, 5, 2).permute(2, 1, 0)  # (D, T, B) -> (B, T, D)
    assert not x.is_contiguous()
    assert_near(cell(x), cell(x.contiguous()), 1e-7)


@in_all_modes
def test_padding_never_reaches_a_valid_frame(mode):
    cell = randomise(SummaryMixing(16, 4, mode=mode)).eval()
    x = torch.randn(3, 90, 16)
    padding = padding_of([90, 41, 1])
    y = cell(x.masked_fill(padding[..., None], 3e4), padding)
    assert torch.isfinite(y).all()
    for b, length in enumerate([90, 41, 1]):
        assert_near(y[b, :length], cell(x[b : b + 1, :length])[0], 1e-5)


@in_all_modes
def test_utterance_without_a_valid_frame(mode):
    cell = randomise(SummaryMixing(8, 2, mode=mode))
    x = torch.randn(2, 70, 8, requires_grad=True)
    y = cell(x, padding_of([70, 0]))
    assert torch.isfinite(y).all()
    y[0].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [x, *cell.parameters()])
    assert_near(y[0], cell(x[:1])[0], 1e-5)


@in_all_modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_follows_float32(mode, dtype):
    cell = randomise(SummaryMixing(16, 4, mode=mode))
    x = torch.randn(2, 300, 16)
    padding = padding_of([300, 7])
    expected = cell(x, padding)
    actual = copy.deepcopy(cell).to(dtype)(x.to(dtype), padding)
    assert actual.dtype == dtype
    valid = ~padding
    assert (actual[valid].float() - expected[valid]).abs().mean() < 2e-2


@in_all_modes
def test_autocast(mode):
    cell = randomise(SummaryMixing(16, 4, mode=mode))
    x = torch.randn(2, 20, 16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        y = cell(x, padding_of([20, 9]))
    y.float().square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [x, *cell.parameters()])
    assert (y.float() - cell(x, padding_of([20, 9]))).abs().mean() < 3e-2


def test_autocast_keeps_the_branches_in_low_precision():
    """As ``nn.Linear``; otherwise what the backward pass keeps of the cell is 40 % larger."""
    branch = SummaryMixing(16, 4).local
    with torch.autocast("cpu", torch.bfloat16):
        assert branch(torch.randn(4, 3, 4)).dtype == torch.bfloat16


def test_mean_of_a_long_clip_in_bfloat16_does_not_saturate():
    """A running bfloat16 sum of ones would stop growing at 256."""
    cell = SummaryMixing(4, 1, mode="lite", layer_norm=False, activation="relu").bfloat16()
    with torch.no_grad():
        for layer in (cell.summary.inner, cell.summary.outer):
            layer.weight.zero_()
            layer.bias.fill_(1.0)
    assert (cell(torch.zeros(1, 3000, 4, dtype=torch.bfloat16)) == 1.0).all()


def test_dropout_falls_on_both_halves_of_the_concatenation():
    """With everything dropped, only the bias and the activation are left."""
    cell = randomise(SummaryMixing(8, 2, dropout=1.0))
    x = torch.randn(2, 5, 8)
    expected = torch.nn.functional.gelu(cell.combiner.bias).expand(2, 5, 8)
    assert_near(cell.train()(x), expected, 1e-6)
    assert (cell.eval()(x) - expected).abs().max() > 1e-2


def test_dropped_share_and_scale():
    cell = SummaryMixing(64, 1, dropout=0.25).train()
    dropped = cell.dropout(torch.ones(20_000))
    assert abs((dropped == 0).float().mean() - 0.25) < 0.02
    assert dropped.max().item() == pytest.approx(4 / 3)


def test_initialisation():
    """Biases at zero, weights of every block as wide as Xavier's bound for its own fan."""
    cell = SummaryMixing(64, 8)
    for name, parameter in cell.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all(), name
    bound = (6 / (8 + 8)) ** 0.5
    for block in cell.local.inner.weight:
        assert 0.8 * bound < block.abs().max() <= bound


@in_all_modes
def test_deepcopy_and_saving(mode):
    cell = randomise(SummaryMixing(8, 2, mode=mode)).eval()
    file = io.BytesIO()
    torch.save(cell, file)
    file.seek(0)
    x = torch.randn(1, 5, 8)
    for twin in (copy.deepcopy(cell), torch.load(file, weights_only=False)):
        assert torch.equal(twin(x), cell(x))


@in_all_modes
def test_memory_grows_linearly(mode):
    """Twice the frames, at most twice the largest tensor kept for the backward pass."""
    cell = SummaryMixing(8, 2, mode=mode)

    def largest_saved(num_frames: int) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (sizes.append(t.numel()), t)[1], lambda t: t):
            cell(torch.randn(1, num_frames, 8, requires_grad=True))
        return max(sizes)

    assert largest_saved(2560) <= 2 * largest_saved(1280)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"mode": "half"}, r"summary_mode='half' is unknown: choose one of full, lite, expdecay"),
        ({"activation": "tanh"}, r"summary_activation='tanh' is unknown: choose one of gelu, relu, swish"),
        ({"num_heads": 3}, r"3 summary heads do not divide the widths 8 and 8"),
        ({"num_heads": 0}, r"0 summary heads"),
        ({"num_heads": 2, "local_hidden_dim": 5}, r"2 summary heads do not divide the widths 8 and 5"),
        ({"num_heads": 2, "mode": "lite", "summary_out_dim": 4}, r"summary_out_dim=4: in mode 'lite' .* width 8"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        SummaryMixing(8, **arguments)


def test_parameter_count():
    """Two MLPs of two block-diagonal layers, two norms, and a dense combiner of D x 2D."""
    for dim, heads in itertools.product((16, 32), (1, 4)):
        block_diagonal = dim * dim // heads + dim
        expected = 4 * block_diagonal + 2 * 2 * dim + (2 * dim * dim + dim)
        assert sum(p.numel() for p in SummaryMixing(dim, heads).parameters()) == expected
