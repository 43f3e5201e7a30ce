"""Span masks: never on padding, as many in each utterance, the same under the same seed of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import padding_of

from summarymixing_fairseq.modules.masking import draw_channel_mask, draw_mask, min_maskable_frames


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 150), min_size=1, max_size=6),
    mask_prob=st.sampled_from([0.05, 0.65, 0.9]),
    mask_length=st.sampled_from([1, 2, 10]),
)
def test_masks_of_a_padded_batch(lengths, mask_prob, mask_length):
    shortest = min_maskable_frames(mask_prob, mask_length)
    lengths = [shortest + length for length in lengths]
    mask = draw_mask(lengths, max(lengths) + 3, mask_prob, mask_length, True)
    assert mask.shape == (len(lengths), max(lengths) + 3) and mask.dtype == torch.bool
    counts = mask.sum(1)
    assert (counts == counts[0]).all() and counts[0] >= 2
    for row, length in zip(mask, lengths):
        assert not row[length:].any(), "padding is masked"
        assert not row[:length].all(), "nothing is left to see"


@pytest.mark.parametrize("mask_prob", [0.1, 0.65, 0.95])
@pytest.mark.parametrize("mask_length", [1, 3, 10, 50])
def test_shortest_maskable_utterance_never_fails(mask_prob, mask_length):
    shortest = min_maskable_frames(mask_prob, mask_length)
    for num_frames in range(shortest, shortest + 5):
        for _ in range(40):
            mask = draw_mask([num_frames], num_frames, mask_prob, mask_length, True)
            assert 2 <= mask.sum() < num_frames


def test_spans_and_share():
    """At 0.65 in spans of 10, about half of the frames are masked (wav2vec 2.0 names 49 %), in runs of 10 or more."""
    mask = draw_mask([1500] * 20, 1500, 0.65, 10, require_same_masks=False)
    assert 0.45 < mask.float().mean() < 0.52
    for row in mask:
        edges = torch.diff(row.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int))
        runs = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert runs[:-1].min() >= 10


def test_same_torch_seed_same_mask_whatever_numpy_does():
    masks = []
    for numpy_seed in (1, 2):
        torch.manual_seed(11)
        np.random.seed(numpy_seed)
        masks.append((draw_mask([60, 40], 60, 0.65, 10, True), draw_channel_mask(2, 64, 0.3, 4)))
    assert torch.equal(masks[0][0], masks[1][0]) and torch.equal(masks[0][1], masks[1][1])
    assert not torch.equal(masks[0][0], draw_mask([60, 40], 60, 0.65, 10, True)), "the next update masks the same"


def test_drawing_leaves_numpy_alone():
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    draw_mask([60], 60, 0.65, 10, True)
    draw_channel_mask(1, 64, 0.3, 4)
    assert (np.random.random(4) == expected).all()


def test_utterances_of_a_batch_get_masks_of_their_own():
    mask = draw_mask([200, 200], 200, 0.65, 10, True)
    assert not torch.equal(mask[0], mask[1])


def test_channel_mask():
    mask = draw_channel_mask(3, 64, 0.25, 8)
    assert mask.shape == (3, 64) and mask.dtype == torch.bool
    assert mask.any(1).all() and not mask.all(1).any()


def test_channel_spans_longer_than_a_narrow_model():
    """Fine-tuning recipes take 64; an encoder may be that narrow, and fairseq then fails every other draw."""
    with pytest.raises(ValueError, match=r"mask_channel_length=64: spans this long can zero all 64 channels"):
        draw_channel_mask(1, 64, 0.1, 64)


@pytest.mark.parametrize("options", [{"mask_type": "normal", "mask_other": 2}, {"mask_type": "poisson"}])
def test_options_of_fairseq(options):
    mask = draw_mask([200, 90], 200, 0.5, 10, True, **options)
    assert mask[0].sum() == mask[1].sum() > 0
    assert not (mask & padding_of([200, 90])).any()


def test_mask_probability_of_one():
    with pytest.raises(ValueError, match=r"mask_prob=1.0 with mask_length=1 masks every frame: lower mask_prob"):
        min_maskable_frames(1.0, 1)
