"""Effective context on an encoder whose frames depend on others as its kernel says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from summarymixing_fairseq.analysis.measures.context import DRAWS_A_CLIP, context_of_clip

KERNEL = torch.tensor([0.1, 0.0, 0.4, 1.0, 0.3, 0.2, 0.5])  # of the frames 3 before to 3 after
PLACES = ["input", "1", "2", "3", "1.still"]
NUM_FRAMES = 40


class Still(nn.Module):
    """Gives what depends on nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(x).detach()


class Toy(nn.Module):
    """A frame a sample. Layer 1 is a convolution, layer 2 the clip's mean, layer 3 the mean and the frame itself."""

    num_layers, time_first = 3, False

    def __init__(self) -> None:
        super().__init__()
        self.latent_norm = nn.Identity()
        self.still = Still()
        self.unused = nn.Parameter(torch.zeros(1))

    def branches(self) -> dict[str, nn.Module]:
        return {"1.still": self.still}

    def forward(self, source, padding_mask=None):
        x = self.latent_norm(source[..., None])
        self.still(x)
        convolved = nn.functional.conv1d(x.transpose(1, 2), KERNEL[None, None], padding=3).transpose(1, 2)
        mean = x.mean(1, keepdim=True).expand_as(x)
        return [x, convolved, mean, x + 10 * mean], None


class Broken(Toy):
    """A layer of nan."""

    def forward(self, source, padding_mask=None):
        states, _ = super().forward(source)
        return [state * torch.nan for state in states], None


def dependence(place: str) -> np.ndarray:
    """(T, T): of each frame on each latent."""
    own, mean = np.eye(NUM_FRAMES), np.full((NUM_FRAMES, NUM_FRAMES), 1 / NUM_FRAMES)
    convolved = sum(float(w) * np.eye(NUM_FRAMES, k=k - 3) for k, w in enumerate(KERNEL))
    return {"input": own, "1": convolved, "2": mean, "3": own + 10 * mean}[place]


def reach(place: str, frames: list[int], share: float) -> float:
    squares = dependence(place) ** 2
    for distance in range(NUM_FRAMES):
        held = [squares[t, max(0, t - distance) : t + distance + 1].sum() / squares[t].sum() for t in frames]
        if np.mean(held) >= share - 1e-6:
            return distance
    raise AssertionError


@pytest.mark.parametrize("seed", range(5))
def test_the_reach_is_that_of_the_kernel(seed):
    wave = np.random.default_rng(seed).standard_normal(NUM_FRAMES).astype(np.float32)
    frames = torch.randint(NUM_FRAMES, (DRAWS_A_CLIP,), generator=torch.Generator().manual_seed(seed)).tolist()
    shares = [0.3, 0.5, 0.9, 0.99, 1.0]
    found = context_of_clip(Toy().eval(), wave, PLACES, seed, shares)
    for place in PLACES[:-1]:
        assert found[place] == [reach(place, frames, share) for share in shares], place
    assert found["input"] == [0.0] * 5
    assert all(map(math.isnan, found["1.still"]))  # no gradient comes back


def test_states_that_are_not_finite_have_no_context():
    wave = np.ones(NUM_FRAMES, np.float32)
    assert math.isnan(context_of_clip(Broken().eval(), wave, ["1"], 0)["1"][0])
