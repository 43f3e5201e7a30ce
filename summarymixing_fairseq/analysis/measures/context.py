"""Effective context: how far around a frame lies what its state depends on, by gradients (Luo et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..states import states_of_batch

SHARES = (0.5, 0.9)
DRAWS_A_CLIP = 4


def context_of_clip(
    encoder: Any, wave: np.ndarray, places: Sequence[str], seed: int, shares: Sequence[float] = SHARES
) -> dict[str, list[float]]:
    """The reach of the gradient around some frames of a clip.

    The gradient of a random direction of a frame's state, with respect to the latents of all frames, has a squared norm
    at each frame. Their sums by distance, averaged over frames and directions, say how far one has to go on both sides
    for a share of it.

    Args:
        encoder: an ``Encoder`` in eval mode.
        wave: (num_samples,) at 16 kHz; places: of ``places_of``, after the latents.
        seed: of frames and directions.

    Returns:
        by place a distance in frames for each share; nan where no gradient comes back or a number is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    leaves: list[Tensor] = []

    def as_leaf(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1]

    source = torch.from_numpy(wave)[None].to(next(encoder.parameters()).device)
    hook = encoder.latent_norm.register_forward_hook(as_leaf)
    try:
        with torch.enable_grad():
            states = states_of_batch(encoder, source, None, places)
    finally:
        hook.remove()
    (latents,) = leaves
    num_frames = latents.size(1)
    at = torch.randint(num_frames, (DRAWS_A_CLIP,), generator=generator).tolist()
    found = {}
    for place in places:
        by_distance = torch.zeros(num_frames, dtype=torch.float64)
        for t in at:
            direction = torch.randn(states[place].size(1), generator=generator).to(source.device)
            gradient = _gradient(states[place][t].float() @ direction, latents)
            squares = gradient[0].double().square().sum(1).cpu()
            distances = (torch.arange(num_frames) - t).abs()
            by_distance.index_add_(0, distances, squares / squares.sum())
        reached = by_distance.cumsum(0) / by_distance.sum()
        found[place] = [_first_at_least(reached, share) for share in shares]
    return found


def _gradient(number: Tensor, latents: Tensor) -> Tensor:
    """Of a number with respect to the latents; 0 where it does not depend on them."""
    if not number.requires_grad:
        return torch.zeros_like(latents)
    (gradient,) = torch.autograd.grad(number, latents, retain_graph=True, allow_unused=True, materialize_grads=True)
    return gradient


def _first_at_least(reached: Tensor, share: float) -> float:
    if not bool(torch.isfinite(reached).all()):
        return float("nan")
    # rounding may leave the last sum a little below 1
    return float((reached < share - 1e-9).sum())
