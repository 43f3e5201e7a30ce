"""HyperMixing: a token-mixing MLP whose weights a network makes of the frames, for any length."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import MAX_WIDTH, Refused, option
from ..kernels.recompute import dropout, made_again
from ..positions import sinusoidal_positions
from ..precision import LayerNorm
from .heads import HeadOptions
from .registry import register_mixer
from .summarymixing import BlockDiagonalLinear, by_frame, by_head


@dataclass
class HyperMixingOptions(HeadOptions):
    """Options of ``hypermixing``. Each head is a token mixer of its slice of the width."""

    hidden_dim: int = option(
        2048, "hidden units of the token mixers, of all heads together; a multiple of the heads", low=1, high=MAX_WIDTH
    )
    tied: bool = option(False, "one network makes the weights of both layers of a token mixer")

    def check(self, embed_dim: int) -> None:
        """Raises Refused for heads that do not divide both widths."""
        super().check(embed_dim)
        if self.hidden_dim % self.num_heads:
            raise Refused("hidden_dim", self.hidden_dim, f"must be a multiple of num_heads={self.num_heads}")


class _HeadLinear(BlockDiagonalLinear):
    """A linear layer of each head."""

    def reset_parameters(self) -> None:
        """Start as torch's linear layers: within +- 1 / sqrt(inputs). The cell's weights start so small that the biases
        alone would count."""
        bound = self.weight.size(1) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)


class _WeightsOfFrames(nn.Module):
    """The hypernetwork: two layers of each head, a row of weights of every frame."""

    def __init__(self, dim: int, hidden_dim: int, num_heads: int):
        super().__init__()
        self.inner = _HeadLinear(dim, dim, num_heads)
        self.outer = _HeadLinear(dim, hidden_dim, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """(heads, N, D / heads) -> (heads, N, hidden / heads)."""
        return self.outer(made_again(F.gelu, self.inner(x)))


@register_mixer("hypermixing", HyperMixingOptions)
class HyperMixing(nn.Module):
    """HyperMixing (HyperMixer, arXiv 2203.03691, equations 2 to 4), in the heads of HyperConformer (arXiv 2305.18281).

        Y = LN(W_2 GELU(W_1' X));  row t of W_i = MLP_i(x_t + p_t),  i = 1, 2

    X is (T, D / heads) in each head and W (T, hidden / heads); p are sinusoidal positions, of any length; LN is over D.
    Padded frames have no row. Time and memory grow with T: no table of T x T is made.

    Deviation from the paper: GELU(.) is divided by the number of frames, over which its argument is a sum. LN takes
    that out again but for its epsilon, and half precision does not overflow in long clips.

    With ``tied`` W_2 = W_1. Dropout is on the output.
    """

    def __init__(self, options: HyperMixingOptions, embed_dim: int, dropout: float):
        super().__init__()
        self.num_heads = options.num_heads
        sizes = embed_dim, options.hidden_dim, options.num_heads
        self.first = _WeightsOfFrames(*sizes)
        self.second = None if options.tied else _WeightsOfFrames(*sizes)
        self.norm = LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        B, T, D = x.shape
        accumulate = torch.promote_types(x.dtype, torch.float32)
        count = torch.full((1, 1, 1), T, dtype=accumulate, device=x.device)
        if padding_mask is not None:
            x = x.masked_fill(padding_mask[..., None], 0.0)  # no row of W_1' X then hears padding
            count = (~padding_mask).sum(1).clamp(min=1)[:, None, None].to(accumulate)  # (B, 1, 1)
        positions = sinusoidal_positions(T, D, x.device).to(x.dtype)
        placed = made_again(partial(by_head, num_heads=self.num_heads), x + positions)  # (heads, B * T, D / heads)
        first = self.first(placed)
        second = first if self.second is None else self.second(placed)
        first, second = (w.unflatten(1, (B, T)) for w in (first, second))  # (heads, B, T, hidden / heads)
        # a sum over frames overflows in half precision, one divided by the root of their number does not
        frames = (x * count.rsqrt()).to(x.dtype).view(B, T, self.num_heads, -1).permute(2, 0, 1, 3)
        total = (first.transpose(2, 3) @ frames).to(accumulate) * count.sqrt()  # (heads, B, hidden / heads, D / heads)
        hidden = (F.gelu(total) / count).to(second.dtype)
        y = by_frame(second @ hidden)
        return dropout(self.norm(y), self.dropout)
