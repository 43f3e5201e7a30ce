"""The probe's bits step by step, and against frames that are known to tell all or nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from summarymixing_fairseq.analysis.measures.information import probe_information
from summarymixing_fairseq.system.errors import InputError

NUM_CLASSES = 4


def labelled_frames(num_frames: int = 4000, spread: float = 0.7) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames (n, 6) around a centre for each class, labels, and clips of 40 frames."""
    labels = np.random.randint(0, NUM_CLASSES, num_frames)
    centres = np.sin(np.arange(NUM_CLASSES * 6.0).reshape(NUM_CLASSES, 6) ** 2)
    frames = (centres[labels] + spread * np.random.randn(num_frames, 6)) * np.logspace(-1, 1, 6) + 30.0
    return frames, labels, np.arange(num_frames) // 40


def test_it_is_entropy_less_cross_entropy_on_other_clips():
    frames, labels, clips = labelled_frames()
    found = probe_information(frames, labels, clips, seed=3)
    # the same draw: of 100 clips, 20 for the test and 10 for the choice of the penalty
    place = np.random.default_rng(3).permutation(100)[clips]
    train, test = place >= 30, place < 20
    scaler = StandardScaler().fit(frames[train])
    probe = LogisticRegression(C=1 / (found.penalty * train.sum()), tol=1e-10, max_iter=5000)
    probe.fit(scaler.transform(frames[train]), labels[train])
    probabilities = probe.predict_proba(scaler.transform(frames[test]))
    bits_left = np.mean([-math.log2(row[label]) for row, label in zip(probabilities, labels[test])])
    rates = [np.mean(labels[test] == k) for k in range(NUM_CLASSES)]
    entropy = -sum(rate * math.log2(rate) for rate in rates)
    assert found.entropy_bits == pytest.approx(entropy, abs=1e-9)
    assert found.bits == pytest.approx(entropy - bits_left, abs=1e-3)  # as near as the solver goes
    assert found.share == pytest.approx(found.bits / entropy)
    assert (found.num_train, found.num_test) == (train.sum(), test.sum()) and 0.3 < found.share < 0.9


def test_all_and_nothing():
    frames, labels, clips = labelled_frames(spread=0.01)
    assert probe_information(frames.astype(np.float32), labels, clips).share == pytest.approx(1, abs=1e-2)
    assert probe_information(frames, np.random.permutation(labels), clips).bits == pytest.approx(0, abs=0.01)


def test_many_channels_and_random_labels_tell_nearly_nothing():
    frames = np.random.randn(5000, 300).astype(np.float32)
    found = probe_information(frames, np.random.randint(0, 8, 5000), np.arange(5000) // 50)
    assert found.bits == pytest.approx(0, abs=0.03)


def test_scale_and_offset_of_channels_do_not_matter():
    frames, labels, clips = labelled_frames()
    moved = frames * np.logspace(3, -3, 6) - 7.0
    assert probe_information(moved, labels, clips).bits == pytest.approx(
        probe_information(frames, labels, clips).bits, abs=1e-3
    )


def test_a_class_that_training_lacks_costs_what_one_frame_would():
    frames, labels, clips = labelled_frames()
    known = probe_information(frames, labels, clips)
    place = np.random.default_rng(0).permutation(100)[clips]
    odd = int(np.flatnonzero(place < 20)[0])
    with_one_example = labels.copy()
    with_one_example[odd] = 9
    found = probe_information(frames, with_one_example, clips)
    # the frame had its own bits before; now it has log2(n + 1), and all others lose log2((n + 1) / n)
    lost = (known.entropy_bits - known.bits) - (found.entropy_bits - found.bits)
    assert 0 < -lost * found.num_test < math.log2(found.num_train + 1) + 1


def test_what_has_no_information():
    frames, labels, clips = labelled_frames(2000)
    constant = np.full_like(frames, 3.3)
    assert probe_information(constant, labels, clips).bits == pytest.approx(0, abs=0.02)
    frames[7, 2] = float("nan")
    found = probe_information(frames, labels, clips)
    assert math.isnan(found.bits) and math.isnan(found.share) and found.entropy_bits > 1
    with pytest.raises(InputError, match="three clips"):
        probe_information(frames, labels, clips // 25)
    with pytest.raises(InputError, match="one class alone"):
        probe_information(frames, np.zeros(2000, dtype=int), clips)
