"""No mixer: the control, what convolution and feed-forward do alone."""

from __future__ import annotations

from torch import Tensor, nn

from .registry import MixerOptions, register_mixer


@register_mixer("none", MixerOptions)
class NoMixer(nn.Module):
    """y_t = x_t: no frame hears another one, and nothing is learned. Neither time nor memory.

    In its layer, x + mixer(LN(x)), the normed frame is added to itself: no information is lost, and none is new.
    """

    def __init__(self, options: MixerOptions, embed_dim: int, dropout: float):
        super().__init__()

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        return x
