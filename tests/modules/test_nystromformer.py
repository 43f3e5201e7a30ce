"""Nyströmformer against its formula written out (arXiv 2102.03902), and against the softmax that it estimates."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import (
    assert_equals_reference,
    assert_near,
    by_head,
    float32,
    float64,
    padding_of,
    randomise,
    scaled_product,
    self_attention,
    softmax_mean,
)

from summarymixing_fairseq.modules.mixing import nystromformer as module


def stretches(num_frames, num_landmarks):
    """Frames of each landmark: every frame by itself if there are no more than landmarks."""
    used = min(num_frames, num_landmarks)
    return [[t for t in range(num_frames) if t * used // num_frames == m] for m in range(used)]


def nystromformer(p, x, num_heads, num_landmarks):
    def rows(queries, keys):
        identity = torch.eye(len(keys)).double()
        return torch.stack([softmax_mean([scaled_product(q, k) for k in keys], identity) for q in queries])

    def mix(q, k, v, h):
        q_mean, k_mean = (
            torch.stack([z[frames].mean(0) for frames in stretches(len(x), num_landmarks)]) for z in (q, k)
        )
        a, identity = rows(q_mean, k_mean), torch.eye(len(q_mean)).double()
        z = a.T / (max(row.sum() for row in a) * max(column.sum() for column in a.T))
        for _ in range(6):
            z = z @ (13 * identity - a @ z @ (15 * identity - a @ z @ (7 * identity - a @ z))) / 4
        return rows(q, k_mean) @ z @ rows(q_mean, k) @ v

    return by_head(p, x, num_heads, mix)


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [7, 7]), (6, 1, [9, 3, 1]), (6, 2, [8, 2])], ids=str)
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("nystromformer", dim, num_heads, num_landmarks=4))
    reference = partial(nystromformer, num_heads=num_heads, num_landmarks=4)
    assert_equals_reference(mixer, reference, lengths, dim, dtype, tolerance)


def test_with_a_landmark_a_frame_it_is_attention(monkeypatch):
    """Once the inverse is exact, after more iterations; landmarks without a frame have no part in it."""
    monkeypatch.setattr(module, "ITERATIONS", 25)
    mixer = randomise(small_mixer("nystromformer", 6, 2, num_landmarks=7)).double()
    x = 4 * torch.randn(2, 5, 6).double()
    y = mixer(x, padding_of([5, 3]))
    for row, length in enumerate([5, 3]):
        expected = self_attention(dict(mixer.named_parameters()), x[row, :length], 2)
        assert_near(y[row, :length], expected, 1e-5)
