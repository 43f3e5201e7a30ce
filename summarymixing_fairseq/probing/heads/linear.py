"""Probes without a network over time: each frame, or the mean of all, by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...system.errors import InputError
from .head import ProbeHead, register_head
from .pooling import masked_mean


@register_head("linear_ctc")
class LinearCtc(ProbeHead):
    """One linear layer a frame (MP3S, arXiv 2308.14456: probe 2 of the Common Voice tasks).

    MP3S calls its probe linear, but runs it with a layer of 1024 sigmoids before the output.

    Args:
        input_dim: D; num_classes: symbols, blank included.
        hidden_dim: sigmoids between the features and the output; 0: none.

    Raises:
        InputError: for a negative ``hidden_dim``.
    """

    is_frame_level = True

    def __init__(self, input_dim: int, num_classes: int, *, hidden_dim: int = 0):
        super().__init__(input_dim, num_classes)
        if hidden_dim < 0:
            raise InputError(f"hidden_dim={hidden_dim}: must be 0 or more")
        self.hidden = nn.Linear(input_dim, hidden_dim) if hidden_dim else None
        self.output = nn.Linear(hidden_dim or input_dim, num_classes)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits (B, T, num_classes)."""
        x = self.checked(x, padding_mask)[0]
        return self.output(x if self.hidden is None else torch.sigmoid(self.hidden(x)))


@register_head("mean_linear")
class MeanLinear(ProbeHead):
    """Mean over valid frames, then one linear layer (MP3S: probe 1 of intent and emotion).

    Args:
        input_dim: D; num_classes: classes.
    """

    takes_mean = True

    def __init__(self, input_dim: int, num_classes: int):
        super().__init__(input_dim, num_classes)
        self.output = nn.Linear(input_dim, num_classes)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits (B, num_classes)."""
        x, padding_mask, _ = self.checked(x, padding_mask)
        return self.output(masked_mean(x, padding_mask))
