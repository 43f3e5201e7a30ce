"""Depthwise convolution over time on (B, T, D), without a transpose on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, T, D), (D, K) -> (B, T, D): correlation of every channel with its own taps, zeros beyond both ends.

    (B, T, D) in memory is an image of one row, T columns and D channels, channels last: oneDNN reads it as it is,
    vectorised over the channels.
    """
    D, K = weight.shape
    image = x.transpose(1, 2).unsqueeze(2)  # (B, T, D) -> (B, D, 1, T), a view
    y = F.conv2d(image, weight.view(D, 1, 1, K), bias, padding=(0, K // 2), groups=D)
    return y.squeeze(2).transpose(1, 2)  # (B, D, 1, T) -> (B, T, D), a view


class _ChannelsLastDepthwise(torch.autograd.Function):
    """The convolution with a backward pass of the same kernels: torch's own is 5 times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        D, K = weight.shape
        grad = grad.contiguous()
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _convolve(grad, weight.flip(1), None)  # K is odd: the same padding
        if ctx.needs_input_grad[1]:
            # as an image of T rows and one column this gradient has a vectorised kernel, of one row it has none
            _, grad_weight, _ = torch.ops.aten.convolution_backward(
                grad.transpose(1, 2).unsqueeze(3),
                x.transpose(1, 2).unsqueeze(3),
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
            grad_weight = grad_weight.view(D, K)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 1))
        return grad_x, grad_weight, grad_bias


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
        weight, bias = self.weight.squeeze(1), self.bias  # (D, 1, K) -> (D, K)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
        return _ChannelsLastDepthwise.apply(x, weight, bias)
