"""Batch normalisation whose statistics are those of valid frames."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .pooling import at_least_float32, zero_padding


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
