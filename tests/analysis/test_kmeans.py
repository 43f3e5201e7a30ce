"""Mini-batch k-means on frames in a file: the sample, the clusters, what is refused."""

from __future__ import annotations

import random
import resource
from pathlib import Path

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans

from summarymixing_fairseq.analysis import kmeans
from summarymixing_fairseq.analysis.kmeans import fit_centroids, kept_frames, num_empty
from summarymixing_fairseq.data.units import About, Units
from summarymixing_fairseq.system.errors import InputError


def batches_of(frames: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(frames, np.cumsum(sizes)[:-1])


@pytest.fixture
def blobs() -> np.ndarray:
    """Frames about 12 centres, half of them about the first."""
    centres = np.random.normal(size=(12, 8))
    chosen = np.where(np.random.rand(3000) < 0.5, 0, np.random.randint(12, size=3000))
    return (centres[chosen] + np.random.normal(size=(3000, 8))).astype(np.float32)


def inertia(frames: np.ndarray, centroids: np.ndarray) -> float:
    return float(((frames[:, None] - centroids) ** 2).sum(-1).min(1).mean())


def test_all_frames_are_kept_in_their_order(tmp_path: Path) -> None:
    frames = np.random.rand(50, 3).astype(np.float32)
    kept = kept_frames(iter(batches_of(frames, [7, 20, 23])), None, 1, tmp_path)
    np.testing.assert_array_equal(kept, frames)
    assert not list(tmp_path.iterdir())


def test_a_sample_equals_reservoir_sampling_frame_by_frame(tmp_path: Path) -> None:
    frames = np.arange(100, dtype=np.float32).reshape(50, 2)
    kept = kept_frames(batches_of(frames, [4, 30, 16]), 10, 3, tmp_path)
    drawn = np.random.default_rng(3)
    expected = list(frames[:10])
    # the numbers are drawn a batch at a time
    for first, last in ((10, 34), (34, 50)):
        for frame, place in zip(frames[first:last], drawn.integers(0, np.arange(first, last) + 1)):
            if place < 10:
                expected[place] = frame
    np.testing.assert_array_equal(kept, expected)


def test_every_frame_is_as_likely_to_be_in_the_sample(tmp_path: Path) -> None:
    frames = np.arange(20, dtype=np.float32)[:, None]
    counts = np.zeros(20)
    for seed in range(1500):
        counts[kept_frames(batches_of(frames, [3, 9, 8]), 5, seed, tmp_path)[:, 0].astype(int)] += 1
    # 375 are expected of each, with a standard deviation of 17
    assert counts.sum() == 1500 * 5 and abs(counts - 375).max() < 70


def test_fewer_frames_than_the_sample(tmp_path: Path) -> None:
    frames = np.random.rand(5, 3).astype(np.float32)
    np.testing.assert_array_equal(kept_frames([frames], 10, 1, tmp_path), frames)


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        with pytest.raises(InputError, match=f"frames cannot be kept in {tmp_path}: File too large; see --max-frames"):
            kept_frames([np.zeros((9000, 3), np.float32)], None, 1, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("batch_frames", [200, 10_000])
def test_clusters_are_as_tight_as_those_of_scikit_learn(blobs: np.ndarray, monkeypatch, batch_frames: int) -> None:
    """Of its own ``fit``, which needs all frames in memory; in one batch and in many."""
    monkeypatch.setattr(kmeans, "BATCH_FRAMES", batch_frames)
    reference = [MiniBatchKMeans(12, random_state=seed, batch_size=batch_frames, n_init=1) for seed in range(5)]
    expected = np.mean([inertia(blobs, model.fit(blobs).cluster_centers_) for model in reference])
    found = [fit_centroids(blobs, 12, seed) for seed in range(5)]
    assert found[0].shape == (12, 8) and found[0].dtype == np.float32
    assert np.mean([inertia(blobs, centroids) for centroids in found]) < 1.02 * expected


def test_a_seed_gives_the_same_clusters_whatever_else_is_random(blobs: np.ndarray, monkeypatch) -> None:
    monkeypatch.setattr(kmeans, "BATCH_FRAMES", 500)
    first = fit_centroids(blobs, 5, 1)
    np.random.seed(99)
    random.seed(99)
    np.testing.assert_array_equal(fit_centroids(blobs, 5, 1), first)
    assert not np.array_equal(fit_centroids(blobs, 5, 2), first)


def test_as_many_clusters_as_frames() -> None:
    frames = np.random.rand(6, 3).astype(np.float32)
    centroids = fit_centroids(frames, 6, 1)
    np.testing.assert_allclose(np.sort(centroids[:, 0]), np.sort(frames[:, 0]), rtol=1e-6)
    with pytest.raises(InputError, match="7 clusters of 6 frames: ask for fewer, or give more audio"):
        fit_centroids(frames, 7, 1)


def test_clusters_without_a_frame_are_counted(monkeypatch) -> None:
    monkeypatch.setattr(kmeans, "BATCH_FRAMES", 2)
    units = Units(np.array([[0, 0], [5, 5], [9, 9]], np.float32), About(1, "", "", 1, 5))
    assert num_empty(np.array([[1, 0], [0, 1], [9, 8], [8, 9], [1, 1]], np.float32), units) == 1
