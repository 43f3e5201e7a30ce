"""``conv_feature_layers``: what is read, what is refused, and that nothing in it runs."""

from __future__ import annotations

import pytest
import torch
from fairseq.models.wav2vec.wav2vec2 import ConvFeatureExtractionModel

from summarymixing_fairseq.checkpoints.encoders.conv_layers import (
    conv_min_samples,
    conv_output_lengths,
    parse_conv_layers,
)
from summarymixing_fairseq.system.errors import InputError


@pytest.mark.parametrize(
    "expression",
    [
        "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
        "[(512,10,5)] + [(512,3,2)] * 4 + [(512,2,2)] * 2",
        "((8, 10, 5), [8, 3, 2])",
        "[[8, 10, 5]]",
        "[(1, 1, 1)] * 64",
    ],
)
def test_what_python_would_make_of_it(expression):
    expected = [tuple(layer) for layer in eval(expression)]
    assert parse_conv_layers(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "[",
        "[]",
        "512",
        "[(512, 10)]",
        "[(512, 10, 5, 1)]",
        "[(512, 10, 0)]",
        "[(512, 10, -5)]",
        "[(512, 10, 5.0)]",
        "[(512, 10, True)]",
        "[(512, 10, '5')]",
        "[(70_000, 10, 5)]",
        "[(2 ** 3, 10, 5)]",
        "[(8, 10, 5)] * 65",
        "[(8, 10, 5)] * [(8, 10, 5)]",
        "[0] * 60_000 * 60_000 * 60_000",
        "(60_000 * 60_000 * 60_000, 1, 1)",
        "[(8, 10, 5) for _ in (1,)]",
        "[(8, 10, n := 5)]",
        "[(8, 10, len('12345'))]",
        "__import__('os').getcwd()",
        "(" * 500 + ")" * 500,
        "[(8, 10, 5)] + " * 200 + "[]",
        "x = [(8, 10, 5)]",
        "[(8, 10, 5)]\n[(8, 10, 5)]",
        None,
        [(8, 10, 5)],
    ],
)
def test_refusals(expression):
    with pytest.raises(
        InputError, match=r"^conv_feature_layers=.*a list of \(channels, kernel size, stride\)"
    ) as error:
        parse_conv_layers(expression)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("layers", [[(4, 10, 5), (4, 3, 2)], [(4, 3, 1), (4, 2, 4), (2, 5, 2)], [(2, 1, 1)]])
def test_lengths_are_those_of_the_convolutions(layers):
    extractor = ConvFeatureExtractionModel(layers, mode="layer_norm")
    shortest = conv_min_samples(1, layers)
    samples = torch.arange(shortest + 90)
    lengths = conv_output_lengths(samples, layers).tolist()
    assert lengths[:shortest] == [0] * shortest
    with torch.no_grad():
        for num_samples in range(shortest, len(samples)):
            assert extractor(torch.zeros(1, num_samples)).size(2) == lengths[num_samples], num_samples
    for num_frames in range(1, 6):
        least = conv_min_samples(num_frames, layers)
        around = conv_output_lengths(torch.tensor([least - 1, least]), layers)
        assert around.tolist() == [num_frames - 1, num_frames]
