"""Feed-forward module of the Conformer, whose hidden activations are kept once rather than twice on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import Dropout, draw_keep_mask, dropped_of_65536

# Frames of a clip that go through the module at a time where no gradient is asked for: 80 s of audio.
FRAMES_AT_A_TIME = 4000


def xavier_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Linear layer with Xavier-uniform weights and a zero bias."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _RecomputedFeedForward(torch.autograd.Function):
    """outer(dropout(swish(inner(x)))), which keeps inner(x) and the mask and computes the rest again.

    Autograd would also keep what goes into ``outer``, four times as wide as the layer: a fifth of a layer's memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        inner_weight: Tensor,
        inner_bias: Tensor,
        outer_weight: Tensor,
        outer_bias: Tensor,
        keep: Tensor | None,
        scale: float,
    ) -> Tensor:
        hidden = F.linear(x, inner_weight, inner_bias)  # (B, T, hidden)
        ctx.save_for_backward(x, inner_weight, outer_weight, hidden, keep)
        ctx.scale = scale
        return F.linear(_activate(hidden, keep, scale), outer_weight, outer_bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, inner_weight, outer_weight, hidden, keep = ctx.saved_tensors
        rows = grad.flatten(0, -2)  # (B, T, D) -> (B * T, D)
        grad_outer_weight = rows.t() @ _activate(hidden, keep, ctx.scale).flatten(0, -2)
        grad_hidden = grad @ outer_weight
        if keep is not None:
            grad_hidden.mul_(keep).mul_(ctx.scale)
        grad_hidden = torch.ops.aten.silu_backward(grad_hidden, hidden)
        hidden_rows = grad_hidden.flatten(0, -2)
        grad_x = grad_hidden @ inner_weight if ctx.needs_input_grad[0] else None
        grad_inner_weight = hidden_rows.t() @ x.flatten(0, -2)
        return grad_x, grad_inner_weight, hidden_rows.sum(0), grad_outer_weight, rows.sum(0), None, None


def _activate(hidden: Tensor, keep: Tensor | None, scale: float) -> Tensor:
    activated = F.silu(hidden)
    return activated if keep is None else activated.mul_(keep).mul_(scale)


class FeedForward(nn.Module):
    """LN, linear D -> hidden, Swish, dropout, linear hidden -> D, dropout (Gulati et al. 2020, section 2.3).

    Args:
        embed_dim: D; hidden_dim: width between the two layers.
        dropout: on the output; activation_dropout: after Swish.
        fast: False: autograd's own backward pass everywhere.
    """

    def __init__(self, embed_dim: int, hidden_dim: int, dropout: float, activation_dropout: float, fast: bool = True):
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.inner = xavier_linear(embed_dim, hidden_dim)
        self.activation_dropout = Dropout(activation_dropout)
        self.outer = xavier_linear(hidden_dim, embed_dim)
        self.dropout = Dropout(dropout)
        self.fast = fast

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = self.norm(x)
        if self.fast and x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return self.dropout(self._recomputed(x))
        if torch.is_grad_enabled():
            return self._plain(x)
        # without gradients the hidden activations, the largest tensor of a long clip, are needed a part at a time
        return torch.cat([self._plain(part) for part in x.split(FRAMES_AT_A_TIME, 1)], 1)

    def _plain(self, x: Tensor) -> Tensor:
        """What comes after the norm, (B, T, D) -> (B, T, D)."""
        return self.dropout(self.outer(self.activation_dropout(F.silu(self.inner(x)))))

    def _recomputed(self, x: Tensor) -> Tensor:
        """``outer(activation_dropout(swish(inner(x))))``."""
        tensors = [x, self.inner.weight, self.inner.bias, self.outer.weight, self.outer.bias]
        if torch.is_autocast_enabled("cpu"):
            tensors = [tensor.to(torch.get_autocast_dtype("cpu")) for tensor in tensors]
        keep, scale, p = None, 1.0, self.activation_dropout.p
        if self.training and p > 0:
            keep = draw_keep_mask((*x.shape[:-1], self.inner.out_features), p).view(torch.int8)
            num_dropped = dropped_of_65536(p)
            scale = 2**16 / (2**16 - num_dropped) if num_dropped < 2**16 else 0.0
        return _RecomputedFeedForward.apply(*tensors, keep, scale)
