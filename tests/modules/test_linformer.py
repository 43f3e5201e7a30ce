"""Linformer against its formula written out (arXiv 2006.04768, equation 7)."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import assert_equals_reference, by_head, float32, float64, randomise, scaled_product, softmax_mean


def linformer(p, x, num_heads):
    def mix(q, k, v, h):
        keys, values = (
            torch.stack([sum(row[t] * frames[t] for t in range(len(x))) for row in p[f"{name}.weight"]])
            for name, frames in (("project_keys", k), ("project_values", v))
        )
        return torch.stack([softmax_mean([scaled_product(query, key) for key in keys], values) for query in q])

    return by_head(p, x, num_heads, mix)


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [5, 5]), (6, 1, [7, 3, 1])])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("linformer", dim, num_heads, rank=3, max_frames=9))
    assert_equals_reference(mixer, partial(linformer, num_heads=num_heads), lengths, dim, dtype, tolerance)


def test_a_clip_that_is_too_long():
    mixer = small_mixer("linformer", 4, 2, rank=3, max_frames=5)
    mixer(torch.randn(1, 5, 4))
    with pytest.raises(ValueError, match=r"a clip of 6 frames, but max_frames=5: cut the clips, or pre-train with"):
        mixer(torch.randn(1, 6, 4))
