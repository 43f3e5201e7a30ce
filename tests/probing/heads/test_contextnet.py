"""ContextNet against loops over frames, and its size against Table 1 of Han et al. 2020."""

from __future__ import annotations

import pytest
import torch
from probe_reference import assert_head_equals_reference, contextnet, contextnet_block, trained
from reference import assert_near, padding_of

from summarymixing_fairseq.probing.heads import build_head
from summarymixing_fairseq.probing.heads.contextnet import ContextNetBlock

DIM, NUM_CLASSES = 5, 4


@pytest.mark.parametrize("lengths", [[4, 4], [5, 3, 1]])
def test_equals_the_loops(lengths):
    head = trained(build_head("contextnet_ctc", DIM, NUM_CLASSES, width=1 / 64), DIM)
    assert_head_equals_reference(head, contextnet, lengths, DIM, torch.float64, 1e-9)


@pytest.mark.parametrize("residual", [True, False])
def test_block_in_float32(residual):
    block = trained(ContextNetBlock(DIM, 16, 3, residual), DIM)
    x, padding = torch.randn(2, 9, DIM), padding_of([9, 5])
    y = block(x.masked_fill(padding[..., None], 0.0), padding)
    assert (y[padding] == 0).all()
    p = {name: value.double() for name, value in block.state_dict().items()}
    for b, length in enumerate([9, 5]):
        expected = contextnet_block(p, list(x[b, :length].double()), 3, residual)
        assert_near(y[b, :length], torch.stack(expected), 1e-5)


def by_hand(alpha: float, input_dim: int) -> int:
    """Encoder: per convolution 5 taps and a bias a channel, a product, a batch norm; SE by 8; projection with norm."""
    total, d = 0, input_dim
    for block in range(23):
        base = 256 if block <= 10 else 512 if block <= 21 else 640
        e = int(alpha * base)
        single = block in (0, 22)
        for i in range(1 if single else 5):
            c = d if i == 0 else e
            total += 6 * c + c * e + 2 * e
        total += e * (e // 8) + e // 8 + (e // 8) * e + e
        if not single:
            total += d * e + 2 * e
        d = e
    return total


SIZES = {0.5: 5_765_208, 1.0: 22_681_296, 2.0: 89_967_552}
# As the paper reports them, RNN-T decoder and joint network included, whose sizes it does not give in full
PUBLISHED = {0.5: 10.8e6, 1.0: 31.4e6, 2.0: 112.7e6}


@pytest.mark.parametrize("alpha", SIZES)
def test_sizes_of_the_paper(alpha):
    head = build_head("contextnet_ctc", 80, 30, width=alpha)
    encoder = sum(p.numel() for p in head.blocks.parameters())
    assert encoder == by_hand(alpha, 80) == SIZES[alpha]
    assert 0.5 * PUBLISHED[alpha] < encoder < PUBLISHED[alpha]
    assert sum(p.numel() for p in head.output.parameters()) == int(640 * alpha) * 30 + 30
    assert {module.stride for module in head.modules() if isinstance(module, torch.nn.Conv1d)} == {(1,)}


def test_size_grows_with_alpha_as_in_the_paper():
    """Differences leave the decoder out, which is the same in all three sizes."""
    growth = (SIZES[2.0] - SIZES[1.0]) / (SIZES[1.0] - SIZES[0.5])
    published = (PUBLISHED[2.0] - PUBLISHED[1.0]) / (PUBLISHED[1.0] - PUBLISHED[0.5])
    assert growth == pytest.approx(published, rel=0.03)
