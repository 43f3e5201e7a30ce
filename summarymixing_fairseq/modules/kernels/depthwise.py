"""Depthwise convolution over time on (B, T, D), without a transpose on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recompute import of_cheap


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, T, D), (D, K) -> (B, T, D): correlation of every channel with its own taps, zeros beyond both ends.

    (B, T, D) in memory is an image of one row, T columns and D channels, channels last: oneDNN reads it as it is,
    vectorised over the channels.
    """
    D, K = weight.shape
    image = x.transpose(1, 2).unsqueeze(2)  # (B, T, D) -> (B, D, 1, T), a view
    y = F.conv2d(image, weight.view(D, 1, 1, K), bias, padding=(0, K // 2), groups=D)
    return y.squeeze(2).transpose(1, 2)  # (B, D, 1, T) -> (B, T, D), a view


class ChannelsLastDepthwise:
    """The convolution as a ``Product``, its gradients by the same kernels: torch's own take 5 times as long on a CPU.

    (B, T, D), (D, K), (D,) -> (B, T, D)
    """

    @staticmethod
    def forward(z: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """As the class says."""
        return _convolve(z.contiguous(), weight, bias)

    @staticmethod
    def backward(grad: Tensor, z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``Product.backward``."""
        D, K = weight.shape
        grad, z = grad.contiguous(), z.contiguous()
        grad_z = _convolve(grad, weight.flip(1), None)  # K is odd: the same padding
        # as an image of T rows and one column this gradient has a vectorised kernel, of one row it has none
        _, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad.transpose(1, 2).unsqueeze(3),
            z.transpose(1, 2).unsqueeze(3),
            weight.view(D, 1, K, 1),
            None,
            [1, 1],
            [K // 2, 0],
            [1, 1],
            False,
            [0, 0],
            D,
            [False, True, False],
        )
        return grad_z, grad_weight.view(D, K), grad.sum((0, 1))


class DepthwiseConv(nn.Conv1d):
    """Depthwise convolution over time, one filter a channel, with zeros beyond both ends.

    Args:
        dim: D; kernel_size: odd.
        fast: False: torch's conv1d everywhere.

    Raises:
        ValueError: for an even or negative kernel size.
    """

    def __init__(self, dim: int, kernel_size: int, fast: bool = True):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"depthwise_conv_kernel_size={kernel_size}: must be odd and positive")
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.fast = fast

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if not self.fast or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
        return self.of_cheap(torch.Tensor.contiguous, x)

    def of_cheap(self, cheap: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """The convolution of ``cheap(*inputs)``, (B, T, D), which is computed again in the backward pass."""
        return of_cheap(ChannelsLastDepthwise, cheap, self.weight.squeeze(1), self.bias, *inputs)
