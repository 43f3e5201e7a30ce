"""Feed-forward module of the Conformer (Gulati et al. 2020, section 2.3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels.recompute import draw_kept, dropout_in_bytes, recompute, scale_of
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
        recompute_cheap: in the backward pass, compute the outputs of norm, Swish and activation dropout again instead
            of storing them.
    """

    def __init__(
        self,
        embed_dim: int,
        hidden_dim: int,
        dropout: float,
        activation_dropout: float,
        recompute_cheap: bool = False,
    ):
        super().__init__()
        self.norm = LayerNorm(embed_dim)
        self.inner = xavier_linear(embed_dim, hidden_dim)
        self.activation_dropout = nn.Dropout(activation_dropout)
        self.outer = xavier_linear(hidden_dim, embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.recompute_cheap = recompute_cheap

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if not torch.is_grad_enabled():
            # the hidden activations are the largest tensor of a long clip: hold only a part of them at a time
            return torch.cat([self._plain(part) for part in x.split(FRAMES_AT_A_TIME, 1)], 1)
        if not self.recompute_cheap:
            return self._plain(x)
        hidden = recompute(self._expand, x)
        p, kept = self.activation_dropout.p, None
        if hidden.device.type == "cpu" and self.training and 0 < p < 1:
            # to draw random numbers again would take a CPU longer than all other recomputation: store the mask
            kept = draw_kept(hidden, p)
        return dropout_in_bytes(recompute(self._contract, hidden, kept), self.dropout)

    def _plain(self, x: Tensor) -> Tensor:
        return self.dropout(self._contract(self._expand(x)))

    def _expand(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, hidden)."""
        return self.inner(self.norm(x))

    def _contract(self, hidden: Tensor, kept: Tensor | None = None) -> Tensor:
        """(B, T, hidden), bool of what the activation dropout keeps or None to draw it -> (B, T, D)."""
        x = F.silu(hidden)
        if kept is None:
            return self.outer(self.activation_dropout(x))
        return self.outer(x.mul_(scale_of(kept, self.activation_dropout.p, x.dtype)))
