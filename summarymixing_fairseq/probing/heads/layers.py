"""Layers that several heads are built from. Padding enters none of their means, and stays zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pooling import at_least_float32, masked_mean, zero_padding


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm (Ioffe and Szegedy 2015) over the last axis; padding enters neither mean nor variance.

    In training, vectors are normalised by the mean and the biased variance of all valid vectors of the batch. Running
    statistics move by 0.1 towards these, with the unbiased variance, as in torch. In eval mode, vectors are normalised
    by the running statistics. All is computed in float32 at least.

    A training batch of one valid vector has no variance; an epoch may end with one. It is normalised by the running
    statistics, which it does not change (torch raises an error).

    Args:
        dim: D.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def __init__(self, dim: int):
        super().__init__(dim, eps=1e-5, momentum=0.1)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """Normalise every valid vector.

        Args:
            x: (B, T, D), or (B, D) without a mask; padding_mask: (B, T) bool, True = padding, or None.

        Returns:
            As x; zero at padded frames, whatever they held, with no gradient to them.
        """
        wide = zero_padding(at_least_float32(x), padding_mask)
        mean, variance = self.running_mean.to(wide.dtype), self.running_var.to(wide.dtype)
        if not self.training:
            centred = wide - mean
        else:
            axes = tuple(range(wide.dim() - 1))
            if padding_mask is None:
                count = wide.new_full((), wide.numel() // wide.size(-1))
            else:
                count = (~padding_mask).sum().to(wide.dtype)
            alone = count < 2  # a tensor: nothing here waits for the GPU
            # clamp: a batch of padding alone has no vector
            mean = torch.where(alone, mean, wide.sum(axes) / count.clamp(min=1))
            centred = zero_padding(wide - mean, padding_mask)
            variance = torch.where(alone, variance, centred.square().sum(axes) / count.clamp(min=1))
            self._follow(mean.detach(), variance.detach(), count, alone)
        weight, bias = self.weight.to(wide.dtype), self.bias.to(wide.dtype)
        y = centred * (weight * (variance + self.eps).rsqrt()) + bias
        return zero_padding(y, padding_mask).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor, alone: Tensor) -> None:
        unbiased = variance * count / (count - 1).clamp(min=1)
        for running, batch in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.lerp_(batch.to(running.dtype), self.momentum * (~alone).to(running.dtype))
        self.num_batches_tracked += ~alone


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (Hu et al. 2018) over time.

    Each channel is multiplied by its entry of sigmoid(W_2 f(W_1 mean + b_1) + b_2), the mean over valid frames.

    Args:
        dim: D; bottleneck_dim: rows of W_1; activation: f.
    """

    def __init__(self, dim: int, bottleneck_dim: int, activation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.squeeze = nn.Linear(dim, bottleneck_dim)
        self.excite = nn.Linear(bottleneck_dim, dim)
        self.activation = activation

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> (B, T, D)."""
        gate = torch.sigmoid(self.excite(self.activation(self.squeeze(masked_mean(x, padding_mask)))))
        return x * gate[:, None]  # (B, T, D) * (B, 1, D)


class TdnnLayer(nn.Module):
    """Time-delay layer of x-vector and ECAPA-TDNN: convolution over time, activation, batch norm, in this order.

    Args:
        input_dim, output_dim: channels.
        kernel_size: odd; dilation: frames from one tap to the next.
        same: pad with zeros at both ends, so that T stays; otherwise the output is ``2 * reach`` frames shorter.
        activation: of each number; ReLU in both papers.
    """

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        kernel_size: int = 1,
        dilation: int = 1,
        same: bool = True,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ):
        super().__init__()
        self.activation = activation
        self.reach = dilation * (kernel_size - 1) // 2  # frames to either side
        self.same = same
        padding = self.reach if same else 0
        self.conv = nn.Conv1d(input_dim, output_dim, kernel_size, dilation=dilation, padding=padding)
        self.norm = MaskedBatchNorm1d(output_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Convolve.

        Args:
            x: (B, T, input_dim), zero at padded frames; padding_mask: (B, T) bool, True = padding, or None.

        Returns:
            (B, T', output_dim), zero at padded frames, and its padding mask (B, T') or None. T' = T, or T - 2 reach,
            where an output frame is valid if all frames that it depends on are.
        """
        if self.conv.kernel_size == (1,):
            y = F.linear(x, self.conv.weight.squeeze(2), self.conv.bias)
        else:
            y = self.conv(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T', D')
        if padding_mask is not None and not self.same:
            padding_mask = padding_mask[:, 2 * self.reach :]  # padding is at the end: the last tap decides
        return self.norm(self.activation(y), padding_mask), padding_mask


class CosineClassifier(nn.Module):
    """Cosine of the embedding and each class's weight vector (Deng et al. 2019, section 2.1).

    It computes in float32 at least, under autocast too: float16 rounds a cosine near 1 by 5e-4, an angle of 2 degrees.

    Args:
        input_dim: E; num_classes: C.
    """

    def __init__(self, input_dim: int, num_classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, input_dim))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, E) -> (B, C), each -1 to 1 but for rounding."""
        with torch.autocast(x.device.type, enabled=False):
            x, weight = at_least_float32(x), at_least_float32(self.weight)
            return F.linear(F.normalize(x, dim=-1), F.normalize(weight, dim=-1))


def build_classifier(input_dim: int, num_classes: int, cosine: bool) -> nn.Module:
    """``CosineClassifier`` if ``cosine``, otherwise one linear layer."""
    return (CosineClassifier if cosine else nn.Linear)(input_dim, num_classes)
