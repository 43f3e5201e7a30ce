"""Feed-forward module of the Conformer, whose hidden activations are kept once rather than twice on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kernels.dropout import Dropout, draw_keep_mask, scale_of_kept
from .kernels.recompute import layer_norm, recomputes

# Frames of a clip that go through the module at a time where no gradient is asked for: 80 s of audio.
FRAMES_AT_A_TIME = 4000
# Rows (frames of all clips) at a time where it is: what is as wide as ``hidden_dim`` then stays in the cache.
ROWS_AT_A_TIME = 512
EPS = 1e-5  # of nn.LayerNorm


def xavier_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Linear layer with Xavier-uniform weights and a zero bias."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _RecomputedFeedForward(torch.autograd.Function):
    """outer(dropout(swish(inner(norm(x))))), which keeps inner's output and the mask and computes the rest again.

    Autograd would also keep what goes into ``outer``, four times as wide as the layer: a fifth of a layer's memory. A
    part of the rows at a time, because each of a layer's widest tensors would leave a hole in the heap when freed that
    the next, narrower one that stays begins to fill: over twelve layers that was a fifth of an update's memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        inner_weight: Tensor,
        inner_bias: Tensor,
        outer_weight: Tensor,
        outer_bias: Tensor,
        dropout: float,
    ) -> Tensor:
        scale = scale_of_kept(dropout)
        rows = x.flatten(0, -2)  # (B, T, D) -> (B * T, D)
        hidden = rows.new_empty(len(rows), len(inner_weight), dtype=inner_weight.dtype)
        keep = torch.empty(hidden.shape, dtype=torch.int8) if dropout > 0 else None
        out = torch.empty_like(rows, dtype=outer_weight.dtype)
        for part in _parts(len(rows)):
            normed = layer_norm(rows[part], norm_weight, norm_bias).to(inner_weight.dtype)
            torch.addmm(inner_bias, normed, inner_weight.t(), out=hidden[part])
            if keep is not None:
                keep[part] = draw_keep_mask(hidden[part].shape, dropout)
            torch.addmm(outer_bias, _activate(hidden, keep, part, scale), outer_weight.t(), out=out[part])
        ctx.save_for_backward(x, norm_weight, norm_bias, inner_weight, outer_weight, hidden, keep)
        ctx.scale = scale
        return out.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, norm_weight, norm_bias, inner_weight, outer_weight, hidden, keep = ctx.saved_tensors
        grads, rows = grad.flatten(0, -2), x.flatten(0, -2)  # (B, T, D) -> (B * T, D)
        # summed over the parts: in single precision at least
        precise = torch.promote_types(grad.dtype, torch.float32)
        grad_inner_weight = torch.zeros_like(inner_weight, dtype=precise)
        grad_outer_weight = torch.zeros_like(outer_weight, dtype=precise)
        grad_inner_bias = torch.zeros(len(inner_weight), dtype=precise)
        grad_norm_weight, grad_norm_bias = (torch.zeros_like(p, dtype=precise) for p in (norm_weight, norm_bias))
        grad_x = torch.empty_like(rows)
        for part in _parts(len(rows)):
            _add_product(grad_outer_weight, grads[part].t(), _activate(hidden, keep, part, ctx.scale))
            grad_hidden = grads[part] @ outer_weight
            if keep is not None:
                grad_hidden.mul_(keep[part]).mul_(ctx.scale)
            grad_hidden = torch.ops.aten.silu_backward(grad_hidden, hidden[part])
            shape = norm_weight.shape
            normed, mean, deviation = torch.native_layer_norm(rows[part], shape, norm_weight, norm_bias, EPS)
            _add_product(grad_inner_weight, grad_hidden.t(), normed.to(inner_weight.dtype))
            grad_inner_bias += grad_hidden.sum(0)
            grad_normed = (grad_hidden @ inner_weight).to(normed.dtype)
            saved = rows[part], shape, mean, deviation, norm_weight, norm_bias
            grad_x[part], *of_norm = torch.ops.aten.native_layer_norm_backward(grad_normed, *saved, [True] * 3)
            grad_norm_weight += of_norm[0]
            grad_norm_bias += of_norm[1]
        return (
            grad_x.view_as(x),
            grad_norm_weight.to(norm_weight.dtype),
            grad_norm_bias.to(norm_bias.dtype),
            grad_inner_weight.to(grad.dtype),
            grad_inner_bias.to(grad.dtype),
            grad_outer_weight.to(grad.dtype),
            grads.sum(0),
            None,
        )


def _parts(num_rows: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_A_TIME) for start in range(0, num_rows, ROWS_AT_A_TIME))


def _activate(hidden: Tensor, keep: Tensor | None, part: slice, scale: float) -> Tensor:
    """dropout(swish(hidden)) of a part of the rows."""
    activated = F.silu(hidden[part])
    return activated if keep is None else activated.mul_(keep[part]).mul_(scale)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b


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
        if self.fast and recomputes(x):
            return self.dropout(self._recomputed(x))
        x = self.norm(x)
        if torch.is_grad_enabled():
            return self._plain(x)
        # without gradients the hidden activations, the largest tensor of a long clip, are needed a part at a time
        return torch.cat([self._plain(part) for part in x.split(FRAMES_AT_A_TIME, 1)], 1)

    def _plain(self, x: Tensor) -> Tensor:
        """What comes after the norm, (B, T, D) -> (B, T, D)."""
        return self.dropout(self.outer(self.activation_dropout(F.silu(self.inner(x)))))

    def _recomputed(self, x: Tensor) -> Tensor:
        """``outer(activation_dropout(swish(inner(norm(x)))))``."""
        weights = [self.inner.weight, self.inner.bias, self.outer.weight, self.outer.bias]
        if torch.is_autocast_enabled("cpu"):
            weights = [weight.to(torch.get_autocast_dtype("cpu")) for weight in weights]
        dropout = self.activation_dropout.p if self.training else 0.0
        return _RecomputedFeedForward.apply(x, self.norm.weight, self.norm.bias, *weights, dropout)
