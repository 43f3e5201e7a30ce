"""FAVOR+ against its weights written out (arXiv 2009.14794), and against the softmax that it estimates."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from mixers import small_mixer
from reference import (
    assert_equals_reference,
    assert_near,
    float32,
    float64,
    kernelised_attention,
    padding_of,
    randomise,
    self_attention,
)

from summarymixing_fairseq.modules.mixing.performer import SPARE, orthogonal_features


def weight(q, k, h, t, u, features):
    """Divided by the largest feature of this query, and of all keys."""
    exponents = []
    for x in (q, k):
        x = x / x.size(1) ** 0.25
        exponents.append(torch.stack([features[h] @ frame - (frame * frame).sum() / 2 for frame in x]))
    of_query = torch.exp(exponents[0][t] - exponents[0][t].detach().max()) + SPARE
    of_key = torch.exp(exponents[1][u] - exponents[1].detach().max()) + SPARE
    return (of_query * of_key).sum()


@pytest.mark.parametrize("dtype, tolerance", [float32, float64])
@pytest.mark.parametrize("dim, num_heads, lengths", [(8, 2, [4, 4]), (6, 1, [5, 3, 1])])
def test_outputs_and_gradients_equal_the_loops(dim, num_heads, lengths, dtype, tolerance):
    mixer = randomise(small_mixer("performer", dim, num_heads, num_features=7))
    reference = partial(
        kernelised_attention, num_heads=num_heads, weight=partial(weight, features=mixer.projection.double())
    )
    assert_equals_reference(mixer, reference, lengths, dim, dtype, tolerance)


def test_many_features_estimate_softmax():
    errors, x = [], torch.randn(1, 20, 16)
    for num_features in (16, 4096):
        torch.manual_seed(3)
        mixer = small_mixer("performer", 16, 4, num_features=num_features)
        errors.append((mixer(x)[0] - self_attention(dict(mixer.named_parameters()), x[0], 4)).abs().mean().item())
    assert errors[1] < 0.02 and errors[1] < errors[0] / 4


def test_features_are_orthogonal_and_as_long_as_gaussian_vectors():
    features = orthogonal_features(2, 600, 4)
    assert features.shape == (2, 600, 4)
    for block in features.view(-1, 4, 4):
        product = block @ block.T
        assert_near(product, product.diag().diag(), 1e-5)
    assert abs(features.square().sum(-1).mean() - 4) < 0.3
    assert features.mean(1).abs().max() < 0.2


def test_each_layer_has_features_of_its_own_which_are_in_the_checkpoint():
    kept = [small_mixer("performer", 8, 2, num_features=5).state_dict()["projection"] for _ in range(2)]
    assert not torch.equal(*kept)


def test_large_queries_and_keys_stay_finite():
    mixer = small_mixer("performer", 8, 2)
    x = (300 * torch.randn(2, 20, 8)).requires_grad_()
    y = mixer(x, padding_of([20, 7]))
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()
