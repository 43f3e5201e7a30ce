"""CKA and PWCCA against their definitions on whole matrices of frames, classes written as one-hot columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis.measures.similarity import BLOCK_FRAMES, CrossSums, linear_cka, pwcca

NUM_CLASSES = 5


def plain_cka(x: np.ndarray, y: np.ndarray) -> float:
    """By the Gram matrices of examples: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    x, y = x - x.mean(0), y - y.mean(0)
    of_x, of_y = x @ x.T, y @ y.T
    return float((of_x * of_y).sum() / np.sqrt((of_x * of_x).sum() * (of_y * of_y).sum()))


def plain_pwcca(x: np.ndarray, y: np.ndarray) -> float:
    """By orthonormal bases of the frames themselves."""
    x, y = x - x.mean(0), y - y.mean(0)
    bases = []
    for side in (x, y):
        left, singular, _ = np.linalg.svd(side, full_matrices=False)
        bases.append(left[:, singular > 1e-9 * singular[0]])
    turn, correlations, _ = np.linalg.svd(bases[0].T @ bases[1])
    rank = min(base.shape[1] for base in bases)
    variates = bases[0] @ turn[:, :rank]
    weights = np.zeros(rank)
    for i in range(rank):
        for channel in x.T:
            weights[i] += abs(variates[:, i] @ channel)
    return float((weights * correlations[:rank]).sum() / weights.sum())


def two_sides(num_frames: int = 3000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Frames (n, 8) and (n, 6) float64, far from the origin, that share something, and classes (n,) that both know."""
    shared = torch.randn(num_frames, 4, dtype=torch.float64)
    x = shared @ torch.randn(4, 8).double() + torch.randn(num_frames, 8) * torch.logspace(0, -1, 8) + 10.0
    y = shared @ torch.randn(4, 6).double() + torch.randn(num_frames, 6) - 3.0
    labels = ((shared[:, 0] + 2.0) * 1.3).clamp(0, NUM_CLASSES - 1).long()
    return x, y, labels


def sums_of(*sides: torch.Tensor, num_classes: tuple[int, ...] = ()) -> CrossSums:
    dense = [side.size(1) for side in sides if side.ndim == 2]
    sums = CrossSums(dense, num_classes)
    sums.add(*sides)
    return sums


def one_hot(labels: torch.Tensor, num_classes: int = NUM_CLASSES) -> np.ndarray:
    return np.eye(num_classes)[labels.numpy()]


MEASURES = pytest.mark.parametrize("measure, plain", [(linear_cka, plain_cka), (pwcca, plain_pwcca)])


@MEASURES
def test_two_sides_of_numbers(measure, plain):
    x, y, _ = two_sides()
    assert len(x) > BLOCK_FRAMES
    sums = sums_of(x, y)
    assert measure(sums) == pytest.approx(plain(x.numpy(), y.numpy()), abs=1e-9)
    assert measure(sums, 1, 0) == pytest.approx(plain(y.numpy(), x.numpy()), abs=1e-9)
    assert 0.1 < measure(sums) < 0.9


@MEASURES
def test_classes_are_one_hot_columns(measure, plain):
    x, y, labels = two_sides()
    words = torch.randint(0, 30, (len(x),)) + 5  # of 40: classes that no frame has
    sums = sums_of(x, labels, words, num_classes=(NUM_CLASSES, 40))
    sides = [x.numpy(), one_hot(labels), one_hot(words, 40)]
    for first, second in ((0, 1), (1, 0), (0, 2), (2, 0)):
        assert measure(sums, first, second) == pytest.approx(plain(sides[first], sides[second]), abs=1e-9)


@MEASURES
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_frames_of_less_precision(measure, plain, dtype):
    x, y, _ = (side.to(dtype) for side in two_sides())
    expected = plain(x.double().numpy(), y.double().numpy())
    assert measure(sums_of(x, y)) == pytest.approx(expected, abs=5e-6)


@MEASURES
def test_batches_add_up_and_can_be_taken_out(measure, plain):
    x, y, labels = two_sides(900)
    whole = sums_of(x, y, labels, num_classes=(NUM_CLASSES,))
    parts = [sums_of(*(side[i::3] for side in (x, y, labels)), num_classes=(NUM_CLASSES,)) for i in range(3)]
    rest = whole - parts[1]
    both = parts[0] + parts[2]
    assert rest.num_frames == both.num_frames == 600 and whole.num_frames == 900
    kept = np.arange(900) % 3 != 1
    for first, second, other in ((0, 1, y.numpy()), (0, 2, one_hot(labels))):
        expected = plain(x.numpy()[kept], other[kept])
        assert measure(rest, first, second) == pytest.approx(expected, abs=1e-9)
        assert measure(both, first, second) == pytest.approx(expected, abs=1e-9)


def test_scatter_and_counts():
    x, y, labels = two_sides(200)
    sums = sums_of(x, y, labels, num_classes=(NUM_CLASSES,))
    np.testing.assert_allclose(sums.scatter(0, 0) / 199, np.cov(x.numpy(), rowvar=False), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sums.scatter(0, 1), (x - x.mean(0)).T @ (y - y.mean(0)), atol=1e-9)
    assert sums.total(2).tolist() == one_hot(labels).sum(0).tolist()


def test_cka_of_turned_and_scaled_frames_is_one():
    x, _, _ = two_sides(500)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))
    assert linear_cka(sums_of(x, 0.01 * x @ turn + 5.0)) == pytest.approx(1, abs=1e-9)
    assert linear_cka(sums_of(x, x * torch.logspace(0, 2, 8))) < 0.9


def test_pwcca_does_not_see_maps_of_the_second_side_that_can_be_undone():
    x, y, _ = two_sides()
    mixed = y @ torch.randn(6, 6, dtype=torch.float64) + 4.0
    assert pwcca(sums_of(x, mixed)) == pytest.approx(pwcca(sums_of(x, y)), abs=1e-9)
    assert pwcca(sums_of(x, x @ torch.randn(8, 8, dtype=torch.float64))) == pytest.approx(1, abs=1e-9)


def test_pwcca_leaves_out_directions_of_negligible_variance():
    x, y, _ = two_sides()
    rounding = 1e-5 * torch.randn(len(y), 3, dtype=torch.float64)
    padded = torch.cat([y, rounding, torch.zeros(len(y), 2)], dim=1)
    assert pwcca(sums_of(x, padded)) == pytest.approx(pwcca(sums_of(x, y)), abs=1e-6)


def test_what_has_nothing_in_common_is_near_zero():
    x, y = torch.randn(20_000, 8), torch.randn(20_000, 6)
    assert linear_cka(sums_of(x, y)) < 0.01 and pwcca(sums_of(x, y)) < 0.05


@pytest.mark.parametrize("measure", [linear_cka, pwcca])
def test_what_has_no_similarity_is_nan(measure):
    x, y, labels = two_sides(100)
    bad = y.clone()
    bad[3, 2] = float("nan")
    alike = torch.full_like(y, 0.1) + torch.arange(6)
    for other in (bad, bad.where(bad.isfinite(), torch.inf), alike, alike.float()):
        sums = sums_of(x, other, labels, num_classes=(NUM_CLASSES,))
        assert math.isnan(measure(sums)) and math.isnan(measure(sums, 1, 0)) and math.isnan(measure(sums, 1, 2))
        assert math.isfinite(measure(sums, 0, 2))
    one_class = sums_of(x, torch.full((100,), 2), num_classes=(NUM_CLASSES,))
    assert math.isnan(measure(one_class)) and math.isnan(measure(one_class, 1, 0))
    assert math.isnan(measure(CrossSums((8, 6))))


@MEASURES
def test_a_class_with_one_example(measure, plain):
    x, _, _ = two_sides(100)
    labels = torch.zeros(100, dtype=torch.int64)
    labels[17] = 4
    sums = sums_of(x, labels, num_classes=(NUM_CLASSES,))
    assert measure(sums) == pytest.approx(plain(x.numpy(), one_hot(labels)), abs=1e-9)
