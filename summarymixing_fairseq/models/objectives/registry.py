"""Objectives by name. An objective is one file of this folder: its class, its options, and ``register_objective``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from ...system.transfers import to_device


@dataclass
class ObjectiveOptions:
    """Base of an objective's options, each a field made by ``system.options.option``."""

    def check(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> None:
        """Check what concerns several options, or the widths of latents, encoder and stacked energies.

        Raises:
            Refused: naming the option.
        """

    def num_weights(self, latent_dim: int, encoder_dim: int, energies_dim: int) -> int:
        """Entries of all weight matrices of the objective, learned or not, without biases and norms."""
        raise NotImplementedError


@dataclass
class MaskedBatch:
    """What an objective learns from: a padded batch that has gone through the masked encoder.

    Attributes:
        source: (B, num_samples) waveform at 16 kHz, any floating dtype.
        num_samples: (B,) int64 on the CPU, valid ones of each clip.
        latents: (B, T, C) output of the feature extractor, not masked.
        encoded: (B, T, D) output of the encoder, which heard the mask vector at the masked frames.
        mask: (B, T) bool on the CPU, True = masked; never a padded frame.
        padding_mask: (B, T) bool, True = padding, or None where no frame is.
        energies: (B, T, frames, num_mel_bins) float32, for each latent the normalised log-mel frames in the middle of
            what it hears (``modules.frontend.stacked_frames``); a view without gradient.
        before_norm: (B, T, C), the latents before the feature extractor's last LayerNorm.
    """

    source: Tensor
    num_samples: Tensor
    latents: Tensor
    encoded: Tensor
    mask: Tensor
    padding_mask: Tensor | None
    energies: Tensor
    before_norm: Tensor

    def masked_frames(self) -> Tensor:
        """(M,) int64 on the device of ``encoded``: positions of the masked frames among all B * T, clip by clip."""
        return to_device(self.mask.flatten().nonzero().squeeze(1), self.encoded.device)

    def stacked_energies(self, frames: Tensor) -> Tensor:
        """(M,) positions among all B * T frames -> (M, E) their ``energies``, frame after frame."""
        num_frames = self.energies.size(1)
        return self.energies[frames // num_frames, frames % num_frames].flatten(1)


class Objective(nn.Module):
    """What pre-training makes of latents, masks and the encoder's output. Fine-tuning drops it whole.

    A subclass takes ``options``, ``latent_dim`` (C), ``encoder_dim`` (D) and ``energies_dim`` (E, frames times bins).
    Its ``forward`` gives what its criterion needs. For the criterion ``pretraining``, the default, that is a dictionary
    of

    - ``loss``: scalar, summed over ``sample_size`` targets;
    - ``sample_size``: int, the number of targets, as a rule that of the masked frames;
    - ``logged``: further sums over the same targets, tensors of one number by name. The log has their means; that of
      ``correct`` is logged as ``accuracy``.

    On a GPU the host should wait for none of its numbers: ``mask`` and ``num_samples`` of the batch are on the CPU.
    """

    criterion: ClassVar[str] = "pretraining"
    # Entries of all codebooks together, of an objective whose criterion logs ``code_perplexity``.
    num_codes: int | None = None

    def forward(self, batch: MaskedBatch) -> dict[str, Any]:
        """See the class."""
        raise NotImplementedError


OBJECTIVES: dict[str, type[Objective]] = {}
OPTIONS: dict[str, type[ObjectiveOptions]] = {}

ObjectiveClass = TypeVar("ObjectiveClass", bound=type[Objective])


def register_objective(name: str, options: type[ObjectiveOptions]) -> Callable[[ObjectiveClass], ObjectiveClass]:
    """Class decorator."""

    def register(objective_class: ObjectiveClass) -> ObjectiveClass:
        OBJECTIVES[name], OPTIONS[name] = objective_class, options
        return objective_class

    return register
