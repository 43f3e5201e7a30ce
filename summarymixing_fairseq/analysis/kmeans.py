"""Mini-batch k-means (Sculley, 2010) by scikit-learn on more frames than memory holds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from ..data.units import Units
from ..system.errors import InputError

BATCH_FRAMES = 10_000
# Passes over the frames: NUM_PASSES, or more where these would be fewer than MIN_BATCHES batches.
NUM_PASSES, MIN_BATCHES = 20, 100


def kept_frames(batches: Iterable[np.ndarray], max_frames: int | None, seed: int, folder: Path) -> np.ndarray:
    """Frames, or a random sample of them, in a file without a name that is gone with the array.

    Args:
        batches: (T, width) float32 each.
        max_frames: size of the sample, each frame as likely as any other (reservoir sampling); None: keep all.
        folder: of the file, which needs 4 bytes a number.

    Returns:
        (frames, width) float32, mapped into memory and not read.

    Raises:
        InputError: if the file cannot be written.
    """
    drawn = np.random.default_rng(seed)
    num_seen = num_kept = width = 0
    try:
        with TemporaryFile(dir=folder) as file:
            for frames in batches:
                width = frames.shape[1]
                room = len(frames) if max_frames is None else max_frames - num_kept
                first, rest = frames[:room], frames[room:]
                file.write(np.ascontiguousarray(first, np.float32).data)
                num_kept += len(first)
                num_seen += len(first)
                # frame n, counted from 1, takes a random one of n places, if that is a place of the sample
                places = drawn.integers(0, num_seen + 1 + np.arange(len(rest)))
                num_seen += len(rest)
                for i in np.flatnonzero(places < num_kept):
                    file.seek(int(places[i]) * width * 4)
                    file.write(np.ascontiguousarray(rest[i], np.float32).data)
            file.flush()
            return np.memmap(file, np.float32, "r", shape=(num_kept, width))
    except OSError as error:
        raise InputError(f"frames cannot be kept in {folder}: {error.strerror or error}; see --max-frames") from None


def fit_centroids(frames: np.ndarray, num_clusters: int, seed: int, min_batches: int = MIN_BATCHES) -> np.ndarray:
    """Cluster frames: k-means++ on a first batch, then passes in an order of their own each.

    Args:
        frames: (frames, width) float32, finite, mapped or in memory: a batch is read at a time.
        min_batches: fewest batches: more than ``NUM_PASSES`` passes are made where these need it.

    Returns:
        (num_clusters, width) float32, the same for the same seed.

    Raises:
        InputError: for more clusters than frames.
    """
    from sklearn.cluster import MiniBatchKMeans  # takes a second
    from tqdm import tqdm

    if num_clusters > len(frames):
        raise InputError(f"{num_clusters} clusters of {len(frames)} frames: ask for fewer, or give more audio")
    num_batches = math.ceil(len(frames) / max(BATCH_FRAMES, 4 * num_clusters))
    num_passes = max(NUM_PASSES, math.ceil(min_batches / num_batches))
    # By default scikit-learn moves small clusters to random frames. Silence makes one cluster far larger than the
    # others, which would then all be moved again and again.
    kmeans = MiniBatchKMeans(num_clusters, random_state=seed, compute_labels=False, reassignment_ratio=0.0)
    drawn = np.random.default_rng(seed)
    with tqdm(total=num_passes * num_batches, unit="batch", desc="k-means", mininterval=0.5) as bar:
        for _ in range(num_passes):
            for chosen in np.array_split(drawn.permutation(len(frames)), num_batches):
                kmeans.partial_fit(frames[np.sort(chosen)])
                bar.update()
    return kmeans.cluster_centers_


def num_empty(frames: np.ndarray, units: Units) -> int:
    """How many clusters hold none of these frames, (frames, width), of which a batch is read at a time."""
    from tqdm import tqdm

    held = np.zeros(len(units), bool)
    starts = range(0, len(frames), BATCH_FRAMES)
    for start in tqdm(starts, unit="batch", desc="clusters", mininterval=0.5):
        held[units.assign(frames[start : start + BATCH_FRAMES])] = True
    return int((~held).sum())
