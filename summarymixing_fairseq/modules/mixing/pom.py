"""PoM: frames select from the mean of polynomials of all frames (arXiv 2603.00683; arXiv 2411.12663)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import option
from ..precision import Linear
from .registry import MixerOptions, register_mixer
from .summarymixing import masked_time_mean


@dataclass
class PolynomialOptions(MixerOptions):
    """Options of ``pom``."""

    degree: int = option(2, "highest degree of the polynomials", low=1, high=8)
    expansion: float = option(
        0.5,
        "width of a polynomial, in encoder widths; at the 2 of the paper it has three times the weights of attention",
        low=0.01,
        high=8,
    )


@register_mixer("pom", PolynomialOptions)
class PolynomialMixer(nn.Module):
    """y_t = W_o (sigmoid(W_s x_t) * mean over valid u of [h_1; h_1 h_2; ...; h_1 ... h_k]), h_i = GELU(W_i x_u).

    The mean is one vector a clip, accumulated in float32; products are elementwise (arXiv 2411.12663, section 3).

    Cost in T frames: time O(T D^2 degree expansion), memory O(T D degree expansion). Dropout is on what W_o takes.
    The default of ``expansion`` is 0.5 where the paper's is 2, so that the mixer has three quarters of attention's
    weights and not three times as many.
    """

    def __init__(self, options: PolynomialOptions, embed_dim: int, dropout: float):
        super().__init__()
        width = options.degree * max(1, round(embed_dim * options.expansion))
        self.degree = options.degree
        self.factors = Linear(embed_dim, width)
        self.select = Linear(embed_dim, width)
        self.out_proj = Linear(width, embed_dim)
        self.dropout = nn.Dropout(dropout)
        for linear in (self.factors, self.select, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        powers: list[Tensor] = []
        for factor in F.gelu(self.factors(x)).chunk(self.degree, -1):
            powers.append(powers[-1] * factor if powers else factor)
        mean = masked_time_mean(torch.cat(powers, -1), padding_mask)[:, None]  # (B, 1, width)
        return self.out_proj(self.dropout(torch.sigmoid(self.select(x)) * mean))
