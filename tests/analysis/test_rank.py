"""Effective rank and participation ratio against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis.measures.rank import effective_rank, participation_ratio


def strengths(rank: int) -> torch.Tensor:
    """Frames (300, 40) float64 in ``rank`` directions of falling strength."""
    return torch.randn(300, rank, dtype=torch.float64) * torch.logspace(0, -4, rank) @ torch.randn(rank, 40).double()


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_it_is_the_entropy_of_the_singular_values(rank):
    frames = strengths(rank)
    singular = np.linalg.svd(frames.numpy(), compute_uv=False)[:rank]
    shares = singular / singular.sum()
    assert effective_rank(frames.T @ frames) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


@pytest.mark.parametrize("rank", [1, 5, 40])
def test_participation_is_that_of_the_eigenvalues_of_the_covariance(rank):
    frames = strengths(rank) + 3.0
    values = np.linalg.eigvalsh(np.cov(frames.numpy(), rowvar=False))
    centred = frames - frames.mean(0)
    expected = values.sum() ** 2 / (values**2).sum()
    assert participation_ratio(centred.T @ centred) == pytest.approx(expected, rel=1e-9)


def test_equal_directions_and_one_direction():
    unit = torch.eye(12, dtype=torch.float64)
    assert effective_rank(7.0 * unit) == pytest.approx(12) == participation_ratio(7.0 * unit)
    same = torch.randn(12, dtype=torch.float64).expand(100, 12)
    assert effective_rank(same.T @ same) == pytest.approx(1) == participation_ratio(same.T @ same)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("measure", [effective_rank, participation_ratio])
def test_what_has_no_rank(measure, value):
    assert np.isnan(measure(torch.full((4, 4), value, dtype=torch.float64)))
