"""The polynomial mixer against its formula written out (arXiv 2411.12663, section 3)."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, float32, float64, gelu, linear, randomise


def pom(p, x, degree):
    polynomials = []
    for frame in x:
        factors = gelu(linear(p, "factors", frame)).chunk(degree)
        products = [factors[0]]
        for factor in factors[1:]:
            products.append(products[-1] * factor)
        polynomials.append(torch.cat(products))
    mean = sum(polynomials) / len(x)
    selected = [mean / (1 + torch.exp(-linear(p, "select", frame))) for frame in x]
    return torch.stack([linear(p, "out_proj", frame) for frame in selected])


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("options", [{}, {"degree": 3, "expansion": 1.5}, {"degree": 1}], ids=str)
@pytest.mark.parametrize("lengths", [[5, 5], [6, 3, 1]])
def test_outputs_and_gradients_equal_the_loops(options, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("pom", 6, **options))
    assert_equals_reference(mixer, partial(pom, degree=mixer.degree), lengths, 6, dtype, tolerance)


def test_sizes_at_the_width_of_base():
    """7.08 million at the paper's expansion; by default between SummaryMixing's 1.48 and attention's 2.36."""
    for options, size in (({"expansion": 2.0}, 7_077_888), ({}, 1_769_472)):
        with torch.device("meta"):
            weights = small_mixer("pom", 768, **options).parameters()
        assert sum(p.numel() for p in weights if p.dim() > 1) == size
