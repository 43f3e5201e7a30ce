"""Curvature and entropy of a clip against loops, and known paths."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis.measures.temporal import curvature, matrix_entropy


def test_curvature_is_the_mean_of_the_angles():
    frames = torch.randn(40, 6)
    x, angles = frames.double().numpy(), []
    for t in range(1, 39):
        before, after = x[t] - x[t - 1], x[t + 1] - x[t]
        angles.append(math.acos(before @ after / math.sqrt(before @ before) / math.sqrt(after @ after)))
    assert curvature(frames) == pytest.approx(np.mean(angles), abs=1e-9)


def test_paths_of_known_curvature():
    turns = torch.arange(20) * 0.3
    circle = torch.stack([turns.cos(), turns.sin()], dim=1)
    assert curvature(circle.double()) == pytest.approx(0.3, abs=1e-6)
    line = torch.arange(5.0)[:, None] * torch.randn(4)
    assert curvature(line) == pytest.approx(0, abs=1e-3)
    assert curvature(torch.tensor([[0.0], [1.0], [0.0], [1.0]])) == pytest.approx(math.pi)
    assert curvature(torch.randn(5000, 200)) == pytest.approx(2 * math.pi / 3, abs=0.01)
    waits = circle.double().repeat_interleave(1 + (torch.arange(20) == 0), dim=0)  # its first frame twice
    assert curvature(waits) == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize("shape", [(30, 6), (6, 30), (2, 2)])
def test_entropy_is_that_of_the_eigenvalues_of_the_gram_matrix(shape):
    frames = torch.randn(shape) * torch.logspace(0, -1, shape[1]) + 1.0
    x = frames.double().numpy()
    values = np.linalg.eigvalsh(x @ x.T / np.trace(x @ x.T))[-min(shape) :]
    expected = sum(-value * math.log(value) for value in values) / math.log(min(shape))
    assert matrix_entropy(frames) == pytest.approx(expected, abs=1e-9)


def test_equal_directions_and_one_direction():
    assert matrix_entropy(3.0 * torch.eye(7, 12)) == pytest.approx(1) == matrix_entropy(torch.eye(12, 7))
    assert matrix_entropy(torch.randn(12).expand(9, 12)) == pytest.approx(0, abs=1e-9)


def test_clips_that_have_neither():
    frames = torch.randn(9, 4)
    frames[5, 1] = float("nan")
    for measure in (curvature, matrix_entropy):
        assert math.isnan(measure(frames)) and math.isnan(measure(frames.nan_to_num(torch.inf)))
        assert math.isnan(measure(torch.zeros(9, 4))) and math.isnan(measure(torch.randn(1, 4)))
        assert math.isnan(measure(torch.empty(0, 4)))
    assert math.isnan(curvature(torch.randn(2, 4))) and math.isnan(matrix_entropy(torch.randn(9, 1)))
