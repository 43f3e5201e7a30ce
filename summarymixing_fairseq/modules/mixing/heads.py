"""What mixers of queries, keys and values share: four projections, and the frames of each head by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ...system.options import MAX_WIDTH, Refused, option
from ..precision import Linear
from .registry import MixerOptions


@dataclass
class HeadOptions(MixerOptions):
    """Options of a mixer with heads."""

    num_heads: int = option(
        8, "heads; they divide the width", low=1, high=MAX_WIDTH, model_field="encoder_attention_heads"
    )

    def check(self, embed_dim: int) -> None:
        """Raises Refused for heads that do not divide the width."""
        if embed_dim % self.num_heads:
            raise Refused("num_heads", self.num_heads, f"must divide encoder_embed_dim={embed_dim}")


class ProjectedHeads(nn.Module):
    """Projects frames to queries, keys and values of each head, and what ``attend`` makes of them back to D.

    Args:
        embed_dim: D; dropout: on the attention weights, or where the subclass says.
    """

    num_projected: ClassVar[int] = 3  # queries, keys and values

    def __init__(self, options: HeadOptions, embed_dim: int, dropout: float):
        super().__init__()
        self.num_heads = options.num_heads
        self.dropout = nn.Dropout(dropout)
        self.in_proj = Linear(embed_dim, self.num_projected * embed_dim)
        self.out_proj = Linear(embed_dim, embed_dim)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        B, T, D = x.shape
        q, k, v = self.project(x).permute(2, 0, 3, 1, 4)  # -> 3 x (B, heads, T, D / heads)
        y = self.attend(q, k, v, padding_mask)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, D))  # (B, heads, T, D / heads) -> (B, T, D)

    def project(self, x: Tensor) -> Tensor:
        """Queries, keys and values: (B, T, D) -> (B, T, 3, heads, D / heads)."""
        return self.in_proj(x).unflatten(-1, (self.num_projected, self.num_heads, -1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        raise NotImplementedError

    @property
    def dropout_p(self) -> float:
        """Dropout of the attention weights: 0 outside of training."""
        return self.dropout.p if self.training else 0.0


def with_a_key(attend: Tensor) -> Tensor:
    """Let a row that may attend to nothing attend to everything: its softmax would be NaN. (..., keys) bool."""
    return attend | ~attend.any(-1, keepdim=True)


def keys_to_attend(padding_mask: Tensor | None) -> Tensor | None:
    """(B, T) bool True = padding -> (B, 1, 1, T) True = may be attended to: all of a clip that has no valid frame."""
    return None if padding_mask is None else with_a_key(~padding_mask)[:, None, None, :]
