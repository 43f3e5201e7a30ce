"""Effective rank against its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis.rank import effective_rank


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_it_is_the_entropy_of_the_singular_values(rank):
    frames = torch.randn(300, rank, dtype=torch.float64) * torch.logspace(0, -4, rank) @ torch.randn(rank, 40).double()
    singular = np.linalg.svd(frames.numpy(), compute_uv=False)[:rank]
    shares = singular / singular.sum()
    assert effective_rank(frames.T @ frames) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


def test_equal_directions_and_one_direction():
    assert effective_rank(7.0 * torch.eye(12, dtype=torch.float64)) == pytest.approx(12)
    same = torch.randn(12, dtype=torch.float64).expand(100, 12)
    assert effective_rank(same.T @ same) == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_what_has_no_rank(value):
    assert np.isnan(effective_rank(torch.full((4, 4), value, dtype=torch.float64)))
