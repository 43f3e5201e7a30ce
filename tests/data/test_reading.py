"""Batches of similar length: every clip once, within the limit, longest first."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from summarymixing_fairseq.data.reading import batches_by_length, pad_batch


@given(st.lists(st.integers(1, 500), max_size=40), st.integers(1, 1_500))
def test_every_clip_once_within_the_limit(num_samples, max_samples):
    batches = batches_by_length(num_samples, max_samples)
    assert sorted(i for batch in batches for i in batch) == list(range(len(num_samples)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(num_samples[i] for i in batch) <= max_samples
    lengths = [num_samples[i] for batch in batches for i in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_batches():
    assert batches_by_length([3, 10, 4, 4, 9], max_samples=12) == [[1], [4], [2, 3, 0]]
    assert batches_by_length([5, 5], max_samples=10) == [[0, 1]]
    assert batches_by_length([50], max_samples=10) == [[0]]
    assert batches_by_length([], max_samples=10) == []


def test_pad_batch():
    source, padding_mask = pad_batch(
        [np.array([1.0, 2.0], np.float32), np.array([3.0], np.float64)], torch.device("cpu")
    )
    assert source.dtype == torch.float32 and source.tolist() == [[1, 2], [3, 0]]
    assert padding_mask.tolist() == [[False, False], [False, True]]
    backwards = np.arange(3, dtype=np.float32)[::-1]
    assert pad_batch([backwards], torch.device("cpu"))[0].tolist() == [[2, 1, 0]]
