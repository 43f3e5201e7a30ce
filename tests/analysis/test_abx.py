"""ABX errors and warping against plain loops over every triple and every cell."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from summarymixing_fairseq.analysis.measures.abx import AbxCells, abx, dtw_distances
from summarymixing_fairseq.system.errors import InputError


def plain_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Costs first, then the path back from the end."""
    cost = np.full((len(x), len(y)), np.inf)
    for i, j in np.ndindex(cost.shape):
        cosine = x[i] @ y[j] / np.linalg.norm(x[i]) / np.linalg.norm(y[j])
        before = [cost[p, q] for p, q in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if p >= 0 and q >= 0]
        cost[i, j] = math.acos(max(-1.0, min(1.0, cosine))) / math.pi + min(before, default=0.0)
    i, j, length = len(x) - 1, len(y) - 1, 1
    while i or j:
        steps = [(p, q) for p, q in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p >= 0 and q >= 0]
        i, j = min(steps, key=lambda step: cost[step])
        length += 1
    return cost[-1, -1] / length


def plain_abx(segments: list[torch.Tensor], phones: np.ndarray, speakers: np.ndarray, across: bool) -> dict:
    """Errors by (a, b, speaker of A and B, speaker of X)."""
    n = len(segments)
    x = [segment.double().numpy() for segment in segments]
    distance = {(i, j): plain_distance(x[i], x[j]) for i, j in itertools.product(range(n), repeat=2)}
    cells: dict = {}
    for i, j, k in itertools.permutations(range(n), 3):
        same_speaker = speakers[i] == speakers[k]
        if phones[i] == phones[k] != phones[j] and speakers[i] == speakers[j] and same_speaker != across:
            to_a, to_b = distance[i, k], distance[j, k]
            error = 0.5 if to_a == to_b else float(to_a > to_b)
            cells.setdefault((phones[i], phones[j], speakers[i], speakers[k]), []).append(error)
    return {key: np.mean(errors) for key, errors in cells.items()}


def plain_error(cells: dict) -> float:
    """X's speakers, then A's speakers, then pairs."""
    pairs = []
    for pair in {key[:2] for key in cells}:
        of_speakers = []
        for speaker in {key[2] for key in cells if key[:2] == pair}:
            of_speakers.append(np.mean([cells[key] for key in cells if key[:3] == (*pair, speaker)]))
        pairs.append(np.mean(of_speakers))
    return float(np.mean(pairs))


def phone_segments(num_segments: int, spread: float = 1.0) -> tuple[list[torch.Tensor], np.ndarray, np.ndarray]:
    """Segments of 1 to 6 frames of 5 numbers around a direction for each phone; not every speaker has every phone."""
    phones = np.random.choice([3, 4, 8], num_segments, p=[0.6, 0.3, 0.1])
    speakers = np.random.choice([10, 20, 30], num_segments, p=[0.5, 0.3, 0.2])
    centres = torch.randn(9, 5)
    segments = [centres[phone] + spread * torch.randn(np.random.randint(1, 7), 5) for phone in phones]
    return segments, phones, speakers


def test_warping_of_pairs_of_any_lengths():
    segments = [torch.randn(length, 5) for length in (1, 1, 2, 3, 7, 7, 12, 30)]
    first, second = np.array(list(itertools.product(range(8), repeat=2))).T
    expected = [
        plain_distance(segments[i].double().numpy(), segments[j].double().numpy()) for i, j in zip(first, second)
    ]
    np.testing.assert_allclose(dtw_distances(segments, first, second), expected, atol=1e-7)


def test_many_pairs_are_cut_into_batches(monkeypatch):
    segments = [torch.randn(1 + i % 9, 5) for i in range(40)]
    first, second = np.random.randint(0, 40, (2, 300))
    whole = dtw_distances(segments, first, second)
    monkeypatch.setattr("summarymixing_fairseq.analysis.measures.abx.BATCH_NUMBERS", 700)
    torch.testing.assert_close(dtw_distances(segments, first, second), whole, atol=1e-7, rtol=0)


def test_directions_alone_count():
    segments = [torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 3.0], [0.0, 9.0]]), torch.tensor([[-2.0, 0.0]])]
    found = dtw_distances(segments, np.array([0, 0, 1]), np.array([1, 2, 1]))
    np.testing.assert_allclose(found, [(0.25 + 0.5) / 2, 1.0, 0.0], atol=1e-7)


@pytest.mark.parametrize("across", [False, True])
def test_every_cell_and_the_mean_are_those_of_loops(across):
    segments, phones, speakers = phone_segments(30)
    cells = abx(segments, phones, speakers, across)
    expected = plain_abx(segments, phones, speakers, across)
    found = {tuple(key): error for *key, error in zip(*cells[:5])}
    assert found.keys() == expected.keys() and len(found) > 5
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), atol=1e-9)
    assert cells.error() == pytest.approx(plain_error(expected), abs=1e-9) and 0 < cells.error() < 0.5
    assert (found.keys() == {tuple(key) for key in zip(*cells[:4])}) and cells.num_triples.min() >= 1


@pytest.mark.parametrize("across", [False, True])
def test_the_draw_is_unbiased_and_comes_from_the_seed(across):
    segments, phones, speakers = phone_segments(40)
    whole = abx(segments, phones, speakers, across)
    some = [abx(segments, phones, speakers, across, max_triples=10 * len(whole.a), seed=seed) for seed in range(30)]
    assert some[0].num_triples.max() == 10 and len(some[0].a) == len(whole.a)
    assert np.mean([cells.error() for cells in some]) == pytest.approx(whole.error(), abs=0.02)
    again = abx(segments, phones, speakers, across, max_triples=10 * len(whole.a), seed=4)
    assert np.array_equal(again.errors, some[4].errors) and len({tuple(cells.errors) for cells in some}) > 5


@pytest.mark.parametrize("across", [False, True])
def test_fewer_cells_than_there_are_if_triples_do_not_suffice(across):
    segments, phones, speakers = phone_segments(40)
    keys = {tuple(key) for key in zip(*abx(segments, phones, speakers, across)[:4])}
    drawn = [abx(segments, phones, speakers, across, max_triples=5, seed=seed) for seed in range(40)]
    assert all(len(cells.a) == 5 and set(cells.num_triples) == {1} for cells in drawn)
    assert {tuple(key) for cells in drawn for key in zip(*cells[:4])} == keys


def test_like_distributions_and_phones_far_apart():
    segments, phones, speakers = phone_segments(400)
    assert abx([torch.randn(3, 5) for _ in segments], phones, speakers, False).error() == pytest.approx(0.5, abs=0.05)
    assert abx([torch.ones(2, 5)] * 400, phones, speakers, True).error() == 0.5
    near, phones, speakers = phone_segments(100, spread=1e-3)
    assert abx(near, phones, speakers, False).error() == abx(near, phones, speakers, True).error() == 0


def test_the_mean_is_over_speakers_of_x_then_of_a_then_pairs():
    a, b = np.array([0, 0, 0, 1]), np.array([1, 1, 1, 0])
    speakers, x_speakers = np.array([5, 5, 6, 5]), np.array([6, 7, 5, 6])
    cells = AbxCells(a, b, speakers, x_speakers, np.array([0.0, 0.4, 1.0, 0.5]), np.ones(4, dtype=int))
    assert cells.error() == pytest.approx(((0.2 + 1.0) / 2 + 0.5) / 2)


def test_cells_of_a_bootstrap():
    cells = abx(*phone_segments(30), True)
    twice = AbxCells(*(np.repeat(column, 2) for column in cells))
    assert twice.error() == pytest.approx(cells.error())
    chosen = np.array([3, 3, 3])
    assert AbxCells(*(column[chosen] for column in cells)).error() == cells.errors[3]


def test_distances_that_differ_by_rounding_alone_are_ties():
    frame = torch.randn(1, 300)
    segments = [frame * scale for scale in (1.0, 0.7, 3.1, 1.3, 9.9)]
    distances = dtw_distances(segments, np.array([0, 0, 1]), np.array([1, 2, 3]))
    assert float(distances.max()) < 1e-7
    assert abx(segments, np.array([0, 0, 0, 1, 1]), np.zeros(5, dtype=int), False).error() == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_frame_that_is_not_finite(value):
    segments, phones, speakers = phone_segments(30)
    segments[4] = segments[4].clone()
    segments[4][-1, 0] = value
    cells = abx(segments, phones, speakers, False)
    assert math.isnan(cells.error()) and not np.isnan(cells.errors).all()
    paths = [torch.randn(6, 5) for _ in range(20)]
    paths[0][2, 1] = value
    distances = dtw_distances(paths, np.zeros(20, dtype=int), np.arange(20))
    assert bool(distances.isnan().all()) and bool(dtw_distances(paths, np.array([1]), np.array([2])).isfinite())


def test_segments_and_labels_that_have_no_error():
    segments = [torch.randn(2, 5) for _ in range(4)]
    same = np.zeros(4, dtype=int)
    with pytest.raises(InputError, match="within speakers needs two segments of a phone"):
        abx(segments, same, same, False)
    with pytest.raises(InputError, match="within"):
        abx(segments, np.arange(4), same, False)  # each phone once
    with pytest.raises(InputError, match="across speakers needs two speakers"):
        abx(segments, np.array([0, 0, 1, 1]), same, True)
    once = abx(segments, np.array([0, 0, 0, 1]), same, False)  # the phone with one example is B only
    assert list(once.a) == [0] and list(once.b) == [1] and list(once.num_triples) == [6]
    with pytest.raises(InputError, match="segment 2 has no frame"):
        abx([*segments[:2], torch.empty(0, 5), segments[3]], np.array([0, 0, 0, 1]), same, False)
