"""How many bits about their labels a linear probe reads off frames: a lower bound of their mutual information.

I(X; Y) = H(Y) - H(Y | X), and the cross entropy of any probe is at least H(Y | X) (Barber and Agakov 2003; arXiv
2004.03061, section 2). The bound is of what a linear map can use.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ...system.errors import InputError

# Of all clips, shares that the probe is tested on, and that its penalty is chosen on.
TEST_SHARE, CHOICE_SHARE = 0.2, 0.1
# Penalties lambda, strongest first, of ``mean cross entropy + lambda / 2 |W|^2``; each starts from the map before it.
PENALTIES = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
MAX_ITERATIONS = 100


class Information(NamedTuple):
    """What the probe tells of the labels of test frames.

    Attributes:
        bits: a frame; below 0 where what the probe has learned does not hold on other clips.
        entropy_bits: H(Y) of the test frames.
        share: bits / entropy_bits.
        penalty: lambda that was chosen.
        num_train, num_test: frames.
        by_clip: (test clips, 2) float64: bits of all frames of the clip, and how many these are; of ``bits`` an
            interval is made of them.
    """

    bits: float
    entropy_bits: float
    share: float
    penalty: float
    num_train: int
    num_test: int
    by_clip: np.ndarray


def probe_information(frames: np.ndarray, labels: np.ndarray, clips: np.ndarray, seed: int = 0) -> Information:
    """Bits that a linear softmax probe, trained on some clips, knows about the labels of others' frames.

    Channels are brought to mean 0 and variance 1. The penalty is the one with the least cross entropy on clips that the
    probe was not trained on, nor is tested on. A class that occurs in test clips alone gets the probability of one
    frame.

    Args:
        frames: (n, D) float.
        labels: (n,) integers.
        clips: (n,) integers: the clip of each frame; all frames of a clip are on the same side.
        seed: of the draw of clips.

    Returns:
        bits and share nan if a number is not finite.

    Raises:
        InputError: if there are fewer than three clips, or training clips or test clips have one class alone.
    """
    train, choice, test = _split(clips, seed)
    for name, part in (("training", train), ("test", test)):
        if len(np.unique(labels[part])) < 2:
            raise InputError(f"the probe's {name} clips have labels of one class alone: it needs two classes")
    _, label_of, counts = np.unique(labels[test], return_inverse=True, return_counts=True)
    surprise = -np.log2(counts / test.sum())[label_of]  # (test frames,) bits without the probe
    entropy = float(surprise.mean())
    sizes = int(train.sum()), int(test.sum())
    if not np.isfinite(frames).all():
        return Information(float("nan"), entropy, float("nan"), float("nan"), *sizes, np.empty((0, 2)))

    num_unseen = len(np.setdiff1d(labels, labels[train]))
    standard = _standardised(frames, train)
    best, penalty, bits_left = float("inf"), float("nan"), np.full(sizes[1], np.nan)
    for penalty_tried, probe in _probes(standard[train], labels[train]):
        tried = _cross_entropy_bits(probe, standard[choice], labels[choice], num_unseen, sizes[0]).mean()
        if tried >= best:
            break
        best, penalty = float(tried), penalty_tried
        bits_left = _cross_entropy_bits(probe, standard[test], labels[test], num_unseen, sizes[0])
    told = surprise - bits_left
    _, clip_of = np.unique(clips[test], return_inverse=True)
    by_clip = np.stack([np.bincount(clip_of, told), np.bincount(clip_of)], axis=1)
    bits = float(told.mean())
    return Information(bits, entropy, bits / entropy, penalty, *sizes, by_clip)


def _split(clips: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which frames (n,) bool are for training, for the choice of the penalty, for the test."""
    names, clip_of = np.unique(clips, return_inverse=True)
    if len(names) < 3:
        raise InputError(
            f"the probe needs three clips: to train on, to choose the penalty on, to test on, not {len(names)}"
        )
    num_test, num_choice = (max(1, round(share * len(names))) for share in (TEST_SHARE, CHOICE_SHARE))
    place = np.random.default_rng(seed).permutation(len(names))[clip_of]
    test, choice = place < num_test, (place >= num_test) & (place < num_test + num_choice)
    return ~test & ~choice, choice, test


def _probes(frames: np.ndarray, labels: np.ndarray) -> Iterator[tuple[float, Any]]:
    """Penalty and probe, from the strongest penalty on. The probe is the same object each time."""
    from sklearn.exceptions import ConvergenceWarning  # takes a second
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(warm_start=True, max_iter=MAX_ITERATIONS)
    for penalty in PENALTIES:
        probe.C = 1 / (penalty * len(frames))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the bound holds for a probe that could be better
            probe.fit(frames, labels)
        yield penalty, probe


def _standardised(frames: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Channels with mean 0 and variance 1 over the training frames; 0 where they do not vary there."""
    mean, deviation = frames[train].mean(0, dtype=np.float64), frames[train].std(0, dtype=np.float64)
    frames = frames.astype(np.promote_types(frames.dtype, np.float32), copy=False)
    varies = deviation > np.finfo(frames.dtype).eps * np.abs(mean)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return (frames - mean.astype(frames.dtype)) * scale.astype(frames.dtype)


def _cross_entropy_bits(
    probe: Any, frames: np.ndarray, labels: np.ndarray, num_unseen: int, num_train: int
) -> np.ndarray:
    """-log2 of the probability of each frame's label: (n,).

    Each of ``num_unseen`` classes that training lacks counts as if it had had one frame there, whatever the frame.
    """
    log_probabilities = probe.predict_log_proba(frames).astype(np.float64)
    seen = np.isin(labels, probe.classes_)
    logs = np.zeros(len(labels))  # of the probability times all frames: an unseen class has log 1
    logs[seen] = log_probabilities[seen, np.searchsorted(probe.classes_, labels[seen])] + np.log(num_train)
    return (np.log(num_train + num_unseen) - logs) / np.log(2)
