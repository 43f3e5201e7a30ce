"""``bestrq``: name the codebook entries that a fixed random projection gives the filterbank at the masked frames.

BEST-RQ, arXiv 2202.01855, section 3; several codebooks as in arXiv 2303.01037, section 3.1; a PCA in the place of the
random projection as in arXiv 2606.30671. Nothing of the targets is learned, so they cannot collapse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from ...modules.quantizer import perplexity
from ...system.options import Refused, option
from ...system.precision import exact_float32
from .registry import MaskedBatch, Objective, ObjectiveOptions, register_objective

# Codebook use and perplexity are those of about this many batches: one alone has fewer masked frames than entries.
BATCHES_COUNTED = 100
DECAY = 1.0 - 1.0 / BATCHES_COUNTED


@dataclass
class BestRqOptions(ObjectiveOptions):
    """Options of ``bestrq``."""

    num_codebooks: int = option(4, "codebooks, each with a projection and a head of its own", low=1, high=8)
    codebook_size: int = option(8192, "entries of a codebook", low=2, high=1_000_000)
    codebook_dim: int = option(16, "width that the stacked log-mel frames are projected to", low=1, high=1_024)
    projection: str = option(
        "random",
        "random: Xavier's; pca: principal components, whitened, of the first batches of all processes together",
        choices=("random", "pca"),
    )
    seed: int = option(0, "of projections and codebooks, which the checkpoint keeps", low=0, high=2**31 - 1)

    def check(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> None:
        """Raises Refused for a projection to more dimensions than there are."""
        if self.codebook_dim > energies_dim:
            allowed = f"must be at most {energies_dim}, the width of the stacked log-mel frames"
            raise Refused("codebook_dim", self.codebook_dim, allowed)

    def num_weights(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> int:
        """Heads, projections, codebooks, and the count of their entries."""
        an_entry = encoder_dim + self.codebook_dim + 1
        return self.num_codebooks * (energies_dim * self.codebook_dim + self.codebook_size * an_entry)


@register_objective("bestrq", BestRqOptions)
class BestRq(Objective):
    """Fixed projections and codebooks, and one linear head for each codebook.

    ``projection`` (N, E, dim), ``codebooks`` (N, size, dim), their entries of length 1, and ``usage`` (N, size), how
    often each entry was a target lately, are buffers, kept in the checkpoint. They stay float32 under ``model.half()``.

    Args:
        options: sizes.
        latent_dim: C, not used; encoder_dim: D, of the encoder's output; energies_dim: E, of the stacked energies.
    """

    projection: Tensor
    codebooks: Tensor
    usage: Tensor

    def __init__(self, options: BestRqOptions, latent_dim: int, encoder_dim: int, energies_dim: int):
        super().__init__()
        number, size, dim = options.num_codebooks, options.codebook_size, options.codebook_dim
        self.num_codes = number * size
        generator = torch.Generator().manual_seed(options.seed)
        bound = math.sqrt(6.0 / (energies_dim + dim))
        projection = torch.empty(number, energies_dim, dim).uniform_(-bound, bound, generator=generator)
        self.has_projection = options.projection == "random"
        # a PCA's is zero until the first batch sets it
        self.register_buffer("projection", projection if self.has_projection else torch.zeros_like(projection))
        codebooks = torch.randn(number, size, dim, generator=generator)
        self.register_buffer("codebooks", F.normalize(codebooks, dim=-1))
        self.register_buffer("usage", torch.zeros(number, size))
        self.heads = nn.ModuleList(nn.Linear(encoder_dim, size) for _ in range(number))

    def forward(self, batch: MaskedBatch) -> dict[str, Any]:
        """Cross entropy summed over the masked frames, the mean of the codebooks. Clips may differ in masked frames.

        In training the log has ``code_use``, the share of all entries that were a target lately, and
        ``code_perplexity``, summed over the codebooks as that of the quantizer is.

        Raises:
            ValueError: where no frame is masked.
        """
        if not bool(batch.mask.any()):
            raise ValueError("no frame of the batch is masked: there is nothing to predict")
        if not self.has_projection:
            self._estimate(batch)
        frames = batch.masked_frames()
        targets = self.targets(batch.stacked_energies(frames))
        context = batch.encoded.flatten(0, 1).index_select(0, frames)  # (B, T, D) -> (M, D)
        losses, hits = [], []
        for head, target in zip(self.heads, targets):
            logits = head(context).float()
            losses.append(F.cross_entropy(logits, target, reduction="sum"))
            hits.append((logits.argmax(-1) == target).sum())
        sample_size = frames.size(0)
        logged = {"correct": torch.stack(hits).sum() / len(hits)}
        if self.training:
            logged.update({name: value * sample_size for name, value in self._count(targets).items()})
        return {"loss": torch.stack(losses).mean(), "sample_size": sample_size, "logged": logged}

    @torch.no_grad()
    def targets(self, stacked: Tensor) -> Tensor:
        """(M, E) stacked energies -> (N, M) int64, the entry of each codebook that has the largest cosine."""
        with torch.autocast(stacked.device.type, enabled=False), exact_float32():
            # entries have length 1, and that of the projected frame changes nothing
            scores = ((stacked @ projection) @ book.t() for projection, book in zip(self.projection, self.codebooks))
            return torch.stack([each.argmax(-1) for each in scores])

    @torch.no_grad()
    def _count(self, targets: Tensor) -> dict[str, Tensor]:
        """Take up the targets (N, M) into ``usage``; what it shows."""
        ones = torch.ones((), device=targets.device).expand_as(targets)
        self.usage.mul_(DECAY).scatter_add_(1, targets, ones)
        return {
            "code_use": (self.usage > DECAY**BATCHES_COUNTED).float().mean(),
            "code_perplexity": perplexity(self.usage / self.usage.sum(1, keepdim=True)),
        }

    @torch.no_grad()
    def _estimate(self, batch: MaskedBatch) -> None:
        """Set the projections to the principal components of all frames of this batch, of all processes together.

        They are whitened: else the first, which is loudness, would decide alone. Every codebook has the same.
        """
        self.has_projection = True
        energies = batch.energies.flatten(2).double()  # (B, T, frames, bins) -> (B, T, E); their mean is about 0
        if batch.padding_mask is not None:
            energies = energies.masked_fill(batch.padding_mask[..., None], 0.0)
        energies = energies.flatten(0, 1)
        gram = energies.t() @ energies
        several = dist.is_available() and dist.is_initialized()
        if several:
            dist.all_reduce(gram)
        variances, directions = torch.linalg.eigh(gram)  # in ascending order
        dim = self.projection.size(2)
        whitened = directions[:, -dim:] / variances[-dim:].clamp(min=1e-9).sqrt()
        self.projection.copy_(whitened.flip(1).expand_as(self.projection))
        if several:  # a direction's sign is left to each machine's library
            dist.broadcast(self.projection, 0)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.has_projection = bool(self.projection.any())

    def _apply(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's, which moves and casts. Buffers are moved only."""
        as_they_were = dict(self._buffers)
        super()._apply(*args, **kwargs)
        for name, buffer in as_they_were.items():
            self._buffers[name] = buffer.to(self._buffers[name].device)  # type: ignore[union-attr]
        return self
