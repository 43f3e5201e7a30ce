"""What all heads have in common: their registry, the attributes that tasks read, and the checks of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from ...system.errors import InputError

HEADS: dict[str, type[ProbeHead]] = {}

HeadClass = TypeVar("HeadClass", bound="type[ProbeHead]")


def register_head(name: str) -> Callable[[HeadClass], HeadClass]:
    """Class decorator that makes a head available as ``model.head=name``.

    The class takes ``input_dim`` and ``num_classes``, and its options as keyword-only arguments with defaults, which
    its docstring explains.
    """

    def register(head_class: HeadClass) -> HeadClass:
        HEADS[name] = head_class
        return head_class

    return register


class ProbeHead(nn.Module):
    """Base of the heads: (B, T, D) features, (B, T) bool padding mask (True = padding) or None -> scores.

    Attributes:
        is_frame_level: the scores are (B, T, num_classes), else (B, num_classes).
        min_frames: fewest valid frames that a clip may have; more than 1 if convolutions have no padding.
        takes_mean: the scores depend only on the mean of the valid frames.
        gives_cosines: the scores are cosines, to which ``aam_logits`` can add a margin.

    Args:
        input_dim: D; num_classes: symbols with the blank, classes or speakers.

    Raises:
        InputError: for a size below 1.
    """

    is_frame_level: bool = False
    min_frames: int = 1
    takes_mean: bool = False
    gives_cosines: bool = False

    def __init__(self, input_dim: int, num_classes: int):
        super().__init__()
        require_positive(input_dim=input_dim, num_classes=num_classes)
        self.input_dim = input_dim
        self.num_classes = num_classes

    def checked(self, x: Tensor, padding_mask: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Check a batch, and set its padded frames to zero.

        Args:
            x: (B, T, D); padding_mask: (B, T) bool, True = padding, or None.

        Returns:
            (B, T, D) features, their padding mask (B, T), and the number of valid frames of each clip, (B,) int64 on
            the CPU. Mask and numbers are None if nothing is padding.

        Raises:
            ValueError: for another shape, padding elsewhere than at the end of a clip, or a clip of fewer valid frames
                than ``min_frames``.
        """
        if x.dim() != 3 or x.size(2) != self.input_dim:
            raise ValueError(
                f"features of shape {tuple(x.shape)}: {type(self).__name__} takes (B, T, D) of D = {self.input_dim}"
            )
        B, T, _ = x.shape
        if padding_mask is None:
            self._require_frames(torch.full((B,), T))
            return x, None, None
        if padding_mask.shape != (B, T):
            raise ValueError(f"padding_mask of shape {tuple(padding_mask.shape)}: features have (B, T) = {(B, T)}")
        num_valid = T - padding_mask.sum(1)
        at_the_end = padding_mask == (torch.arange(T, device=x.device) >= num_valid[:, None])
        *lengths, in_place = torch.cat([num_valid, at_the_end.all()[None]]).tolist()  # one copy from the GPU
        if not in_place:
            raise ValueError("padding_mask: padding must be at the end of each clip")
        num_valid = torch.tensor(lengths, dtype=torch.int64)
        self._require_frames(num_valid)
        if bool((num_valid == T).all()):
            return x, None, None
        return x.masked_fill(padding_mask[..., None], 0.0), padding_mask, num_valid

    def _require_frames(self, num_valid: Tensor) -> None:
        for clip, length in enumerate(num_valid.tolist()):
            if length < self.min_frames:
                raise ValueError(
                    f"clip {clip} of the batch has {length} valid frames: {type(self).__name__} takes clips of "
                    f"{self.min_frames} or more"
                )


class EmbeddingHead(ProbeHead):
    """A head that classifies clips by an embedding, which is what speaker verification compares.

    Attributes:
        embedding_dim: width of the embedding.
        classifier: (B, embedding_dim) -> (B, num_classes).
    """

    embedding_dim: int
    classifier: nn.Module

    def embed(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> (B, embedding_dim)."""
        raise NotImplementedError

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits, or cosines, (B, num_classes)."""
        return self.classifier(self.embed(x, padding_mask))


def require_positive(**sizes: float) -> None:
    """Raise InputError, naming the size, for one that is not positive."""
    for name, size in sizes.items():
        if size <= 0:
            raise InputError(f"{name}={size}: must be positive")


def require_probability(**probabilities: float) -> None:
    """Raise InputError, naming the probability, for one outside 0 to 1."""
    for name, probability in probabilities.items():
        if not 0.0 <= probability <= 1.0:
            raise InputError(f"{name}={probability}: must be a probability, 0 to 1")
