"""Bidirectional state space: the core of Mamba-2, scanned in chunks, forwards and backwards (arXiv 2405.21060)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import MAX_WIDTH, option
from ..chunks import Chunks
from ..precision import LayerNorm, Linear, at_least_float32
from ..state_space import state_space_scan
from .blocks import blocks_of
from .heads import HeadOptions
from .registry import register_mixer


@dataclass
class StateSpaceOptions(HeadOptions):
    """Options of ``ssd``."""

    state_dim: int = option(64, "size of the state of a channel", low=1, high=MAX_WIDTH)

    def streams(self) -> bool:
        """Yes."""
        return True


@register_mixer("ssd", StateSpaceOptions)
class BidirectionalStateSpace(nn.Module):
    """In each head, with a state h of state_dim x D / heads, and once more from the last frame to the first:

        h_t = exp(-dt_t a) h_(t-1) + dt_t B_t x_t';    y_t = C_t' h_t    (section 2.1, equation 1; section 7)

    x, B and C are SiLU of projections of the frame, dt is softplus of one; B, C, dt and a are another set for each
    direction, and B and C the same for all heads. The output is W_o LN((y + backward y + skip x) * SiLU(z)).

    A padded frame has dt = 0, which leaves the state as it is, exactly. The scan is float32.

    ``log_rate`` and ``step_bias`` are what is learned beyond the start, which is kept beside them: weight decay, which
    Mamba-2 keeps from these two, draws them to their start and not to a state that forgets within a few frames.

    Deviations from Mamba-2's block: no convolution before the scan, as the layer has one; no expansion of the width;
    LayerNorm in the place of RMSNorm; a skip for each channel, where its default is one a head.

    Cost in T frames: time O(T D (state_dim + 64)), memory O(T (D + 64 heads)). Dropout is on what
    W_o takes.
    """

    start: Tensor

    def __init__(self, options: StateSpaceOptions, embed_dim: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads = options.num_heads
        of_direction = [2 * options.state_dim, num_heads]  # B and C, dt
        self.widths = [embed_dim, embed_dim, *of_direction, *of_direction]  # the first two: z, x
        self.in_proj = Linear(embed_dim, sum(self.widths))
        self.out_proj = Linear(embed_dim, embed_dim)
        self.norm = LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.log_rate = nn.Parameter(torch.empty(2 * num_heads))
        self.step_bias = nn.Parameter(torch.empty(2 * num_heads))
        self.register_buffer("start", torch.empty(2, 2 * num_heads))  # log a, and what is added to dt before softplus
        self.skip = nn.Parameter(torch.empty(embed_dim))
        for linear in (self.in_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As Mamba-2: a uniform in 1 to 16, dt of a zero frame in 0.001 to 0.1, uniform in its logarithm, skip 1."""
        with torch.no_grad():
            log_rate = torch.empty_like(self.log_rate).uniform_(1, 16).log()
            step = torch.empty_like(self.step_bias).uniform_(math.log(1e-3), math.log(0.1)).exp()
            step_bias = step + torch.log(-torch.expm1(-step))  # softplus, inverted
            self.start.copy_(torch.stack([log_rate, step_bias]))
            self.log_rate.zero_()
            self.step_bias.zero_()
            self.skip.fill_(1.0)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None, chunks: Chunks | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D). With ``chunks`` the way back begins at their ends."""
        B, T = x.shape[:2]
        projected = self.in_proj(x)
        if padding_mask is not None:
            projected = projected.masked_fill(padding_mask[..., None], 0.0)
        with torch.autocast(x.device.type, enabled=False):
            z, x, there, back = self._inputs(projected)
            if chunks is None:
                # both directions as one batch: first all clips forwards, then all clips backwards
                both = (torch.cat([one, other.flip(1)]) for one, other in zip(there, back))
                paddings = None if padding_mask is None else torch.cat([padding_mask, padding_mask.flip(1)])
                values = torch.cat([x, x.flip(1)])
                y = state_space_scan(*self._terms(slice(0, 2), paddings, values, *both)).flatten(2)  # (2B, T, D)
                y = y[:B] + y[B:].flip(1)
            else:
                y = state_space_scan(*self._terms(slice(0, 1), padding_mask, x, *there))
                terms = self._terms(slice(1, 2), padding_mask, x, *back)
                in_chunks = (blocks_of(term, chunks.size, least=1).flatten(0, 1).flip(1) for term in terms)
                of_chunks = state_space_scan(*in_chunks, most=chunks.size).flip(1)  # (B * chunks, size, heads, P)
                y = (y + of_chunks.unflatten(0, (B, -1)).flatten(1, 2)[:, :T]).flatten(2)
            y = self._gated(y, x, z)
        return self.out_proj(self.dropout(y.to(projected.dtype)))

    def first_state(self, batch: int, left: int) -> list[Tensor]:
        """What is remembered before the first frame: h of the way there, (B, heads, state_dim, D / heads) float32."""
        shape = (batch, self.num_heads, self.widths[2] // 2, self.skip.numel() // self.num_heads)
        return [self.skip.new_zeros(shape, dtype=torch.promote_types(self.skip.dtype, torch.float32))]

    def step(self, x: Tensor, state: list[Tensor], heard: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The frames that come next, all of one chunk: see ``ChunkedAttention.step``."""
        projected, before, T = self.in_proj(x), state[0], x.size(1)
        with torch.autocast(x.device.type, enabled=False):
            z, x, there, back = self._inputs(projected)
            terms = self._terms(slice(0, 1), None, x, *there)
            values, log_decay, b, c = terms
            so_far = log_decay.cumsum(1)  # (B, T, heads)
            from_before = so_far.exp()[..., None] * torch.einsum("btn,bhnp->bthp", c, before)
            way_back = (term.flip(1) for term in self._terms(slice(1, 2), None, x, *back))
            y = state_space_scan(*terms, most=T) + from_before + state_space_scan(*way_back, most=T).flip(1)
            to_the_end = (so_far[:, -1:] - so_far).exp()[..., None] * values
            after = so_far[:, -1].exp()[..., None, None] * before + torch.einsum("btn,bthp->bhnp", b, to_the_end)
            y = self._gated(y.flatten(2), x, z)
        return self.out_proj(y.to(projected.dtype)), [after]

    def _inputs(self, projected: Tensor) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
        """z and x, (B, T, D) each, and of both directions B and C (B, T, 2N), and steps (B, T, heads)."""
        z, x, *directions = at_least_float32(projected).split(self.widths, -1)
        return z, F.silu(x), directions[:2], directions[2:]

    def _terms(
        self, directions: slice, padding_mask: Tensor | None, x: Tensor, bc: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What ``state_space_scan`` takes, of a batch with all clips of a direction after those of another."""
        log_rate, step_bias = self.start.to(x.dtype) + torch.stack([self.log_rate, self.step_bias]).to(x.dtype)
        step_bias, rate = (p.view(2, 1, 1, -1)[directions] for p in (step_bias, log_rate))
        clips = x.size(0) // step_bias.size(0)
        step_bias, rate = (p.expand(-1, clips, -1, -1).flatten(0, 1) for p in (step_bias, rate))  # (B, 1, heads)
        step = F.softplus(step + step_bias)  # (B, T, heads)
        if padding_mask is not None:
            step = step.masked_fill(padding_mask[..., None], 0.0)
        b, c = F.silu(bc).chunk(2, -1)  # (B, T, N)
        return x.unflatten(-1, (self.num_heads, -1)) * step[..., None], -step * rate.exp(), b, c

    def _gated(self, y: Tensor, x: Tensor, z: Tensor) -> Tensor:
        """What both directions give, (B, T, D), with the skip, gated and normalised."""
        return self.norm((y + self.skip.to(x.dtype) * x) * F.silu(z))
