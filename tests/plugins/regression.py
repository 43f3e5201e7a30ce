"""An objective in one file: predict the latents of the masked frames by their squared distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ...system.options import option
from .registry import MaskedBatch, Objective, ObjectiveOptions, register_objective


@dataclass
class RegressionOptions(ObjectiveOptions):
    """Options of ``regression``."""

    scale: float = option(1.0, "factor of the loss", low=0.0, high=100.0)

    def num_weights(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> int:
        """One projection."""
        return latent_dim * encoder_dim


@register_objective("regression", RegressionOptions)
class Regression(Objective):
    """Squared distance of a projection of the encoder's output and the latents, which get no gradient."""

    def __init__(self, options: RegressionOptions, latent_dim: int, encoder_dim: int, energies_dim: int):
        super().__init__()
        self.scale = options.scale
        self.projection = nn.Linear(encoder_dim, latent_dim)

    def forward(self, batch: MaskedBatch) -> dict[str, Any]:
        """See ``Objective``."""
        mask = batch.mask.to(batch.encoded.device)
        distance = (self.projection(batch.encoded[mask]) - batch.latents[mask].detach()).float()
        loss = self.scale * distance.square().mean(-1).sum()
        return {"loss": loss, "sample_size": int(batch.mask.sum()), "logged": {"distance": distance.norm(dim=-1).sum()}}
