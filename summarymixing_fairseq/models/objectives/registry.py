"""Objectives by name. An objective is one file of this folder: its class, its options, and ``register_objective``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn


@dataclass
class ObjectiveOptions:
    """Base of an objective's options, each a field made by ``system.options.option``."""

    def check(self, latent_dim: int, encoder_dim: int) -> None:
        """Check what concerns several options, or the widths of latents and encoder.

        Raises:
            Refused: naming the option.
        """

    def num_weights(self, latent_dim: int, encoder_dim: int) -> int:
        """Entries of all weight matrices of the objective, without biases and norms."""
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
    """

    source: Tensor
    num_samples: Tensor
    latents: Tensor
    encoded: Tensor
    mask: Tensor
    padding_mask: Tensor | None


class Objective(nn.Module):
    """What pre-training makes of latents, masks and the encoder's output. Fine-tuning drops it whole.

    A subclass takes ``options``, ``latent_dim`` (C) and ``encoder_dim`` (D). Its ``forward`` gives what its criterion
    needs. For the criterion ``pretraining``, the default, that is a dictionary of

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
