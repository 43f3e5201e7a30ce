"""Pooling over the valid frames of a clip: mean, mean and standard deviation, attentive statistics.

All compute in float32 at least: in half precision a sum over thousands of frames loses digits or overflows. Padded
frames may hold anything, NaN included.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# Least variance: that of a constant channel is a rounding error near 0, where the square root's slope is infinite.
MIN_VARIANCE = 1e-10


def at_least_float32(x: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def zero_padding(x: Tensor, padding_mask: Tensor | None) -> Tensor:
    """(..., D), (...) bool True = padding or None -> (..., D), padded vectors zero in value and in gradient."""
    return x if padding_mask is None else x.masked_fill(padding_mask[..., None], 0.0)


def _num_valid(x: Tensor, padding_mask: Tensor | None) -> Tensor | int:
    """Valid frames of each clip, (B, 1), or T."""
    return x.size(1) if padding_mask is None else (~padding_mask).sum(1, keepdim=True)


def masked_mean(x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Mean over valid frames; NaN for a clip without a valid frame.

    Args:
        x: (B, T, D); padding_mask: (B, T) bool, True = padding, or None.

    Returns:
        (B, D) in x's dtype.
    """
    total = zero_padding(at_least_float32(x), padding_mask).sum(1)
    return (total / _num_valid(x, padding_mask)).to(x.dtype)


def masked_mean_std(x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
    """Statistics pooling (Snyder et al. 2018, section 2.3): mean and standard deviation over valid frames.

    The deviation is the population's (divided by T, not T - 1). It is at least 1e-5, with no gradient below that.

    Args:
        x: (B, T, D); padding_mask: (B, T) bool, True = padding, or None.

    Returns:
        (B, 2 D) in x's dtype: means, then deviations.
    """
    wide = at_least_float32(x)
    mean = masked_mean(wide, padding_mask)
    centred = zero_padding(wide - mean[:, None], padding_mask)
    variance = centred.square().sum(1) / _num_valid(x, padding_mask)
    return torch.cat([mean, _root(variance)], dim=-1).to(x.dtype)


def _root(variance: Tensor) -> Tensor:
    return variance.clamp(min=MIN_VARIANCE).sqrt()


class AttentiveStatisticsPooling(nn.Module):
    """Channel- and context-dependent statistics pooling (Desplanques et al. 2020, section 3.1, equations 1 to 4).

        e_tc = v_c . tanh(W [h_t; mean; std] + b) + k_c,    a_c = softmax over valid t of e_c
        mean_c = sum_t a_tc h_tc,    std_c = sqrt(sum_t a_tc (h_tc - mean_c)^2)

    [mean; std] are the clip's plain statistics, the same for every frame, so W's part for them is computed once a clip.
    The paper does not say which nonlinearity it uses; here it is tanh. There is no batch norm in it, as some
    implementations have: that agrees with the paper's 6.2 million parameters.

    Args:
        dim: D; attention_dim: rows of W.
    """

    def __init__(self, dim: int, attention_dim: int):
        super().__init__()
        self.frame = nn.Linear(dim, attention_dim)
        self.context = nn.Linear(2 * dim, attention_dim, bias=False)
        self.score = nn.Linear(attention_dim, dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> (B, 2 D) in x's dtype: means, then deviations."""
        x = zero_padding(x, padding_mask)
        context = self.context(masked_mean_std(x, padding_mask))  # (B, A)
        scores = at_least_float32(self.score(torch.tanh(self.frame(x) + context[:, None])))  # (B, T, D)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[..., None], -torch.inf)
        weights = torch.softmax(scores, dim=1)
        wide = at_least_float32(x)
        mean = (weights * wide).sum(1)
        variance = (weights * (wide - mean[:, None]).square()).sum(1)
        return torch.cat([mean, _root(variance)], dim=-1).to(x.dtype)
