"""Span masks: never on padding, as many in each utterance, the same under the same seed of torch."""

from __future__ import annotations

import random

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


def filled_by_plain_loops(num_frames: int, mask_prob: float, mask_length: int) -> list[bool]:
    """Spans at random starts, then single frames out of those that are still visible."""
    masked = [False] * num_frames
    num_spans = int(mask_prob * num_frames / mask_length + random.random())
    for start in random.sample(range(num_frames - mask_length), num_spans):
        masked[start : start + mask_length] = [True] * mask_length
    visible = [t for t in range(num_frames) if not masked[t]]
    for t in random.sample(visible, round(mask_prob * num_frames) - sum(masked)):
        masked[t] = True
    return masked


def shares_of_visible_runs(masks) -> list[float]:
    """Of all runs of visible frames those of 1, 2, ... 7 and of more frames, and the mean length."""
    runs = [len(run) for row in masks for run in "".join(" x"[masked] for masked in row).replace("x", ",").split(",")]
    runs = [run for run in runs if run]
    return [sum(run == n for run in runs) / len(runs) for n in range(1, 8)] + [sum(runs) / len(runs)]


def test_filled_masks_are_those_of_plain_loops():
    """At 0.65 in spans of 10 what is left visible comes in runs of 2.8 frames; of spans alone in runs of 8.5."""
    expected = shares_of_visible_runs([filled_by_plain_loops(1000, 0.65, 10) for _ in range(60)])
    mask = draw_mask([1000] * 60, 1000, 0.65, 10, require_same_masks=True, fill=True)
    assert (mask.sum(1) == 650).all()
    actual = shares_of_visible_runs(mask.tolist())
    assert actual[:-1] == pytest.approx(expected[:-1], abs=0.02)
    assert actual[-1] == pytest.approx(expected[-1], abs=0.1) and actual[-1] == pytest.approx(2.8, abs=0.1)
    assert shares_of_visible_runs(draw_mask([1000] * 60, 1000, 0.65, 10, False).tolist())[-1] > 8


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 150), min_size=1, max_size=6),
    mask_prob=st.sampled_from([0.05, 0.65, 0.9, 1.0]),
    mask_length=st.sampled_from([2, 10]),
    same=st.booleans(),
)
def test_filled_masks_of_a_padded_batch(lengths, mask_prob, mask_length, same):
    """The share is of the batch's shortest clip, or of each clip; two frames are masked, one is visible in any case."""
    lengths = [min_maskable_frames(mask_prob, mask_length) + length for length in lengths]
    mask = draw_mask(lengths, max(lengths) + 3, mask_prob, mask_length, same, fill=True)
    for row, length in zip(mask, lengths):
        counted = min(lengths) if same else length
        assert row.sum() == min(max(round(mask_prob * counted), 2), counted - 1)
        assert not row[length:].any(), "padding is masked"


def test_spans_of_a_long_clip_are_not_cut_beside_a_short_one():
    """As many spans and frames are masked in it as in the short one: 130 frames, in 13 or 14 spans and one by one."""
    long = draw_mask([200, 2000], 2000, 0.65, 10, True, fill=True)[1]
    runs = [len(run) for run in "".join(" x"[masked] for masked in long.tolist()).split()]
    assert long.sum() == 130 and sum(run >= 10 for run in runs) >= 8


@pytest.mark.parametrize("fill", [False, True])
def test_same_torch_seed_same_mask_whatever_numpy_does(fill):
    masks = []
    for numpy_seed in (1, 2):
        torch.manual_seed(11)
        np.random.seed(numpy_seed)
        masks.append((draw_mask([60, 40], 60, 0.65, 10, True, fill), draw_channel_mask(2, 64, 0.3, 4)))
    assert torch.equal(masks[0][0], masks[1][0]) and torch.equal(masks[0][1], masks[1][1])
    assert not torch.equal(masks[0][0], draw_mask([60, 40], 60, 0.65, 10, True, fill)), "the next update masks the same"


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


@pytest.mark.parametrize("options", [{"mask_type": "normal", "mask_other": 2}, {"mask_type": "poisson"}])
def test_options_of_fairseq(options):
    mask = draw_mask([200, 90], 200, 0.5, 10, True, **options)
    assert mask[0].sum() == mask[1].sum() > 0
    assert not (mask & padding_of([200, 90])).any()


def test_mask_probability_of_one():
    with pytest.raises(ValueError, match=r"mask_prob=1.0 with mask_length=1 masks every frame: lower mask_prob"):
        min_maskable_frames(1.0, 1)
