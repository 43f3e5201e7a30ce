"""ECAPA-TDNN against loops over frames, and its size against Table 1 of Desplanques et al. 2020."""

from __future__ import annotations

import pytest
from probe_reference import assert_head_equals_reference, cosines, ecapa_embedding, trained
from reference import float32, float64, linear

from summarymixing_fairseq.probing.heads import build_head

DIM, NUM_CLASSES = 4, 3


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("lengths", [[9, 9], [11, 7, 2]])
@pytest.mark.parametrize("cosine", [False, True])
def test_equals_the_loops(cosine, lengths, dtype, tolerance):
    head = trained(
        build_head("ecapa", DIM, NUM_CLASSES, cosine=cosine, embedding_dim=5, channels=16, aggregated_channels=6), DIM
    )

    def reference(p, x):
        classify = cosines if cosine else linear
        return classify(p, "classifier", ecapa_embedding(p, x, 8))

    assert_head_equals_reference(head, reference, lengths, DIM, dtype, tolerance)


def by_hand(channels: int, input_dim: int, embedding_dim: int) -> int:
    """Figure 2: weights, biases, batch norms, layer by layer; without the output layer."""
    C, norm = channels, 2
    width = C // 8
    stem = input_dim * C * 5 + C + norm * C
    pointwise = C * C + C + norm * C
    res2 = 7 * (width * width * 3 + width + norm * width)
    squeeze_excitation = C * 128 + 128 + 128 * C + C
    block = 2 * pointwise + res2 + squeeze_excitation
    aggregate = 3 * C * 1536 + 1536
    attention = 3 * 1536 * 128 + 128 + 128 * 1536 + 1536
    embedding = norm * 3072 + 3072 * embedding_dim + embedding_dim + norm * embedding_dim
    return stem + 3 * block + aggregate + attention + embedding


@pytest.mark.parametrize(
    "channels, exact, published", [(512, 6_191_104, 6.2e6), (1024, 14_657_472, 14.7e6)], ids=["C512", "C1024"]
)
def test_sizes_of_the_paper(channels, exact, published):
    head = build_head("ecapa", 80, 1211, channels=channels, embedding_dim=192)
    num_parameters = sum(p.numel() for name, p in head.named_parameters() if not name.startswith("classifier"))
    assert num_parameters == by_hand(channels, 80, 192) == exact
    assert round(num_parameters / 1e6, 1) == published / 1e6


def test_size_in_mp3s():
    head = build_head("ecapa", 768, 1211, cosine=True)
    assert sum(p.numel() for p in head.parameters()) == by_hand(512, 768, 512) + 512 * 1211
