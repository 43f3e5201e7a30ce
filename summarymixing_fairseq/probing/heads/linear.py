"""Linear probes: no network between the features and the scores."""

from __future__ import annotations

from torch import Tensor, nn

from .head import ProbeHead, register_head
from .pooling import masked_mean


@register_head("linear_ctc")
class LinearCtc(ProbeHead):
    """One linear layer a frame (MP3S, arXiv 2308.14456: probe 2 of the Common Voice tasks).

    Args:
        input_dim: D; num_classes: symbols, blank included.
    """

    is_frame_level = True

    def __init__(self, input_dim: int, num_classes: int):
        super().__init__(input_dim, num_classes)
        self.output = nn.Linear(input_dim, num_classes)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits (B, T, num_classes)."""
        return self.output(self.checked(x, padding_mask)[0])


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
