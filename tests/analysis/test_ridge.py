"""The ridge regression against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import linear_model

from summarymixing_fairseq.analysis.measures.similarity import CrossSums
from summarymixing_fairseq.analysis.ridge import linear_map, num_correct

NUM_CLASSES = 4


def frames_of_classes(num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (n, 6) float32 around a centre for each class, far from the origin, channels of unequal scale."""
    labels = torch.randint(0, NUM_CLASSES, (num_frames,))
    centres = torch.arange(NUM_CLASSES * 6.0).view(NUM_CLASSES, 6).square().sin()
    frames = centres[labels] + 0.5 * torch.randn(num_frames, 6)
    return (frames * torch.logspace(-1, 1, 6) + 30.0), labels


@pytest.mark.parametrize("penalty", [1e-3, 0.3])
def test_map_and_accuracy_are_those_of_scikit_learn(penalty):
    frames, labels = frames_of_classes(500)
    sums = CrossSums([6], [NUM_CLASSES])
    for part in (slice(0, 120), slice(120, 500)):
        sums.add(frames[part].double(), labels[part])
    weights, biases = linear_map(sums, penalty)
    x = frames.double().numpy()
    strength = penalty * ((x - x.mean(0)) ** 2).sum() / 6
    one_hot = np.eye(NUM_CLASSES)[labels.numpy()]
    reference = linear_model.Ridge(alpha=strength).fit(x, one_hot)
    np.testing.assert_allclose(weights.T.numpy(), reference.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(biases.numpy(), reference.intercept_, rtol=1e-6)
    others, truth = frames_of_classes(300)
    predicted = reference.predict(others.double().numpy()).argmax(1)
    correct = int(num_correct(others, truth, weights, biases))
    assert correct == (predicted == truth.numpy()).sum() and 0.4 < correct / 300 < 1


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_frames_that_are_all_alike_tell_nothing(value):
    sums = CrossSums([3], [2])
    sums.add(torch.full((50, 3), value), torch.arange(50) % 2)
    weights, biases = linear_map(sums)
    if value:
        torch.testing.assert_close(weights, torch.zeros(3, 2).double(), atol=1e-9, rtol=0)
        torch.testing.assert_close(biases, torch.full((2,), 0.5).double())
    else:
        assert bool(weights.isnan().all())
