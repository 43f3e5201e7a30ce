"""The feature extractor: its length formula, its convolutions, and padding that changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from reference import assert_near, gelu, randomise, stacked_energies

from summarymixing_fairseq.modules.filterbank import LogMelFilterbank
from summarymixing_fairseq.modules.frontend import FilterbankFrontend, stack_frames, stacked_frames

LAYOUTS = {"paper": ((3, 3), (2, 1)), "one": ((5,), (3,)), "three": ((4, 1, 2), (1, 2, 3))}


def build(layout: str = "paper", channels: int = 6) -> FilterbankFrontend:
    kernel_sizes, strides = LAYOUTS[layout]
    return randomise(FilterbankFrontend(LogMelFilterbank(), channels, kernel_sizes, strides))


@torch.no_grad()
def real_length(frontend: FilterbankFrontend, num_samples: int) -> int:
    return frontend(torch.randn(1, num_samples), torch.tensor([num_samples]))[0].size(1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_length_formula_over_a_sweep(layout):
    frontend = build(layout)
    shortest = frontend.min_samples()
    with pytest.raises(ValueError, match=rf"clip of {shortest - 1} samples gives no frame: {shortest} samples"):
        real_length(frontend, shortest - 1)
    assert frontend.output_lengths(torch.tensor([shortest - 1])) == 0
    step = 1 if layout == "paper" else 7
    for num_samples in [*range(shortest, shortest + 701, step), 16_000, 23_457, 80_001]:
        assert frontend.output_lengths(torch.tensor([num_samples])).item() == real_length(frontend, num_samples)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_min_samples_is_minimal(layout):
    frontend = build(layout)
    for num_frames in (1, 2, 3, 13, 100):
        samples = frontend.min_samples(num_frames)
        assert frontend.output_lengths(torch.tensor([samples, samples - 1])).tolist() == [num_frames, num_frames - 1]


def test_fifty_frames_a_second():
    assert build().output_lengths(torch.tensor([0, 1, 160_000])).tolist() == [0, 0, 496]
    assert build().min_samples() == 400 + 160 * (2 * 2 + 2)  # 3 frames of the first block, 7 windows


def test_equals_loops(speech):
    """Normalised energies, each convolution written out, LayerNorm, GELU, and the last LayerNorm."""
    wave = torch.from_numpy(speech[3][2_000:6_000])
    frontend = build()
    x = LogMelFilterbank()(wave[None])[0].double()
    x = (x - x.mean(0)) / (((x - x.mean(0)) ** 2).mean(0).sqrt() + 1e-5)

    def norm(vector, module):
        centred = vector - vector.mean()
        return centred / ((centred**2).mean() + 1e-5).sqrt() * module.weight.double() + module.bias.double()

    for block, stride in zip(frontend.blocks, (2, 1)):
        weight = block.conv.weight.double()  # (out, in, 3)
        starts = range(0, len(x) - 2, stride)
        x = torch.stack([gelu(norm(sum(weight[:, :, k] @ x[t + k] for k in range(3)), block.norm)) for t in starts])
    expected = torch.stack([norm(frame, frontend.norm) for frame in x])
    latents, lengths, *_ = frontend(wave[None], torch.tensor([len(wave)]))
    assert lengths.tolist() == [len(expected)]
    assert_near(latents[0], expected, 1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("num_samples", [6_000, 6_201])
def test_stacked_frames_are_the_middle_of_what_a_latent_hears(speech, layout, num_samples):
    frontend = build(layout)
    wave = torch.from_numpy(speech[0][None, :num_samples])
    features = frontend(wave, torch.tensor([num_samples]))
    T = features.latents.size(1)
    stacked = stack_frames(features.energies, frontend.windows, T)
    kernel_sizes, strides = LAYOUTS[layout]
    assert torch.equal(stacked.flatten(2)[0], stacked_energies(features.energies[0], kernel_sizes, strides, T))
    assert stacked.data_ptr() == features.energies[:, stacked_frames(frontend.windows)[0] :].data_ptr()  # no copy


def test_latent_t_stands_for_frames_2t_plus_1_to_2t_plus_4():
    assert stacked_frames(build().windows) == (1, 4, 2)


def test_initialisation_and_shapes():
    """Kaiming's normal: variance 2 / fan-in. No bias in the convolutions."""
    frontend = FilterbankFrontend(LogMelFilterbank())
    assert [tuple(block.conv.weight.shape) for block in frontend.blocks] == [(512, 80, 3), (512, 512, 3)]
    for block in frontend.blocks:
        assert block.conv.bias is None
        fan_in = block.conv.in_channels * 3
        assert block.conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_in), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_follows_float32(speech, dtype):
    wave = torch.from_numpy(speech[0])[None].double()
    frontend = build().eval()
    expected, *_ = frontend(wave, torch.tensor([wave.size(1)]))
    actual, *_ = frontend.to(dtype)(wave, torch.tensor([wave.size(1)]))
    assert actual.dtype == dtype
    assert (actual.float() - expected).abs().mean() < 2e-2
