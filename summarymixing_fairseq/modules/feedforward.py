"""Feed-forward module of the Conformer (Gulati et al. 2020, section 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels.recompute import dropout, made_again
from .precision import LayerNorm, Linear

# Without gradients, this many frames of a clip (80 s of audio) go through the module at a time.
FRAMES_AT_A_TIME = 4000


def xavier_linear(in_dim: int, out_dim: int) -> Linear:
    """Linear layer with Xavier-uniform weights and a zero bias."""
    layer = Linear(in_dim, out_dim)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class FeedForward(nn.Module):
    """LN, linear D -> hidden, Swish, dropout, linear hidden -> D, dropout.

    Args:
        embed_dim: D; hidden_dim: width between the two layers.
        dropout: on the output; activation_dropout: after Swish.
    """

    def __init__(self, embed_dim: int, hidden_dim: int, dropout: float, activation_dropout: float):
        super().__init__()
        self.norm = LayerNorm(embed_dim)
        self.inner = xavier_linear(embed_dim, hidden_dim)
        self.activation_dropout = nn.Dropout(activation_dropout)
        self.outer = xavier_linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
            # the hidden activations are the largest tensor of a long clip: hold only a part of them at a time
            return torch.cat([self._forward(part) for part in x.split(FRAMES_AT_A_TIME, 1)], 1)
        return self._forward(x)

    def _forward(self, x: Tensor) -> Tensor:
        x = self.inner(self.norm(x))  # (B, T, D) -> (B, T, hidden)
        x = self.outer(dropout(made_again(F.silu, x), self.activation_dropout))
        return dropout(x, self.dropout)
