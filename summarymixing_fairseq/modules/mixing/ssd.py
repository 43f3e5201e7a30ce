"""Bidirectional state space: the core of Mamba-2, scanned in chunks, forwards and backwards (arXiv 2405.21060)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import MAX_WIDTH, option
from ..precision import LayerNorm, Linear, at_least_float32
from ..state_space import state_space_scan
from .heads import HeadOptions
from .registry import register_mixer


@dataclass
class StateSpaceOptions(HeadOptions):
    """Options of ``ssd``."""

    state_dim: int = option(64, "size of the state of a channel", low=1, high=MAX_WIDTH)

    def num_weights(self, embed_dim: int) -> int:
        """Gate and values, B, C and the steps of both directions, and the output."""
        both_directions = 2 * (2 * self.state_dim + self.num_heads)
        return embed_dim * (2 * embed_dim + both_directions) + embed_dim * embed_dim


@register_mixer("ssd", StateSpaceOptions)
class BidirectionalStateSpace(nn.Module):
    """In each head, with a state h of state_dim x D / heads, and once more from the last frame to the first:

        h_t = exp(-dt_t a) h_(t-1) + dt_t B_t x_t';    y_t = C_t' h_t    (section 2.1, equation 1; section 7)

    x, B and C are SiLU of projections of the frame, dt is softplus of one; B, C, dt and a are another set for each
    direction, and B and C the same for all heads. The output is W_o LN((y + backward y + skip x) * SiLU(z)).

    A padded frame has dt = 0, which leaves the state as it is, exactly. The scan is float32.

    Deviations from Mamba-2's block: no convolution before the scan, as the layer has one; no expansion of the width;
    LayerNorm in the place of RMSNorm.

    Cost in T frames: time O(T D (state_dim + 64)), memory O(T (D + 64 heads)). Dropout is on what
    W_o takes.

    Args:
        embed_dim: D; num_heads: divides D; dropout: see above; state_dim: N.

    Raises:
        ValueError: if the heads do not divide the width.
    """

    def __init__(self, embed_dim: int, num_heads: int = 8, dropout: float = 0.0, state_dim: int = 64):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide the width {embed_dim}")
        self.num_heads = num_heads
        self.widths = [embed_dim, embed_dim, *(2 * [2 * state_dim, num_heads])]  # z, x, and B and C, dt a direction
        self.in_proj = Linear(embed_dim, sum(self.widths))
        self.out_proj = Linear(embed_dim, embed_dim)
        self.norm = LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.log_rate = nn.Parameter(torch.empty(2 * num_heads))  # log a
        self.step_bias = nn.Parameter(torch.empty(2 * num_heads))
        self.skip = nn.Parameter(torch.empty(embed_dim))
        for linear in (self.in_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As Mamba-2: a uniform in 1 to 16, dt of a zero frame in 0.001 to 0.1, uniform in its logarithm, skip 1."""
        with torch.no_grad():
            self.log_rate.uniform_(1, 16).log_()
            step = torch.empty_like(self.step_bias).uniform_(math.log(1e-3), math.log(0.1)).exp()
            self.step_bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus, inverted
            self.skip.fill_(1.0)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        B, T, D = x.shape
        projected = self.in_proj(x)
        if padding_mask is not None:
            projected = projected.masked_fill(padding_mask[..., None], 0.0)
        dtype = projected.dtype
        with torch.autocast(x.device.type, enabled=False):
            z, x, *directions = at_least_float32(projected).split(self.widths, -1)
            x = F.silu(x)
            # both directions as one batch: first all clips forwards, then all clips backwards
            bc, step = (torch.cat([here, there.flip(1)]) for here, there in zip(directions[:2], directions[2:]))
            values = torch.cat([x, x.flip(1)]).view(2 * B, T, self.num_heads, -1)
            step_bias, rate = (
                p.to(x.dtype).view(2, 1, 1, -1).expand(-1, B, -1, -1).flatten(0, 1)  # (2 heads) -> (2B, 1, heads)
                for p in (self.step_bias, self.log_rate)
            )
            step = F.softplus(step + step_bias)  # (2B, T, heads)
            if padding_mask is not None:
                step = step.masked_fill(torch.cat([padding_mask, padding_mask.flip(1)])[..., None], 0.0)
            b, c = F.silu(bc).chunk(2, -1)  # (2B, T, N)
            y = state_space_scan(values * step[..., None], -step * rate.exp(), b, c).flatten(2)  # (2B, T, D)
            y = y[:B] + y[B:].flip(1) + self.skip.to(x.dtype) * x
            y = self.norm(y * F.silu(z)).to(dtype)
        return self.out_proj(self.dropout(y))
