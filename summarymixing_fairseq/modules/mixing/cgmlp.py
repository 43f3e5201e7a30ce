"""The convolutional gating MLP of Branchformer: local only, the control without global context."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.options import MAX_WIDTH, Refused, option
from ..feedforward import xavier_linear
from ..kernels.depthwise import DepthwiseConv
from ..kernels.recompute import dropout, made_again
from ..precision import LayerNorm
from .registry import MixerOptions, register_mixer


@dataclass
class CgMlpOptions(MixerOptions):
    """Options of ``cgmlp``."""

    hidden_dim: int = option(
        0,
        "width before the gate, even; 0: four times encoder_embed_dim",
        low=0,
        high=MAX_WIDTH,
        allowed=f"must be an even width, or 0 for four times encoder_embed_dim; at most {MAX_WIDTH:,}",
    )
    kernel_size: int = option(31, "frames of the depthwise convolution, odd", low=1, high=10_001)

    def check(self, embed_dim: int) -> None:
        """Raises Refused for a width that is odd or a kernel that is even."""
        if self.hidden_dim % 2:
            raise Refused("hidden_dim", self.hidden_dim, "must be even: one half gates the other")
        if self.kernel_size % 2 == 0:
            raise Refused("kernel_size", self.kernel_size, "must be odd")


class _Gate(DepthwiseConv):
    """A convolution that starts as a constant of one (gMLP, arXiv 2105.08050, section 2.1)."""

    def reset_parameters(self) -> None:
        """Filters near zero, biases of one."""
        nn.init.normal_(self.weight, std=1e-6)
        nn.init.ones_(self.bias)


@register_mixer("cgmlp", CgMlpOptions)
class ConvolutionalGatingMLP(nn.Module):
    """cgMLP (Branchformer, arXiv 2207.02971, section 3.3).

        [a ; b]_t = GELU(U x_t);  y_t = V dropout(a_t * DepthwiseConv(LN(b))_t)

    Padded frames are zero before the convolution, as frames before the first and after the last are. A frame hears
    15 frames on each side (kernel 31), whatever the length. Time and memory grow with T. The gate starts open.
    """

    def __init__(self, options: CgMlpOptions, embed_dim: int, dropout: float):
        super().__init__()
        hidden_dim = options.hidden_dim or 4 * embed_dim
        self.expand = xavier_linear(embed_dim, hidden_dim)
        self.norm = LayerNorm(hidden_dim // 2)
        self.depthwise = _Gate(hidden_dim // 2, options.kernel_size)
        self.dropout = nn.Dropout(dropout)
        self.project = xavier_linear(hidden_dim // 2, embed_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        a, b = made_again(F.gelu, self.expand(x)).chunk(2, -1)  # 2 x (B, T, hidden / 2)
        b = self.norm(b)
        if padding_mask is not None:
            b = made_again(partial(_silence, padding_mask=padding_mask), b)
        return self.project(dropout(made_again(torch.mul, a, self.depthwise(b)), self.dropout))


def _silence(x: Tensor, padding_mask: Tensor) -> Tensor:
    return x.masked_fill(padding_mask[..., None], 0.0)
