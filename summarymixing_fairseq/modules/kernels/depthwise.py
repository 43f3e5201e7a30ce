"""Depthwise convolution over time on (B, T, D)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthwiseConv(nn.Conv1d):
    """Depthwise convolution over time, one filter a channel, with zeros before the first and after the last frame.

    Args:
        dim: D; kernel_size: odd.

    Raises:
        ValueError: for an even or negative kernel size.
    """

    def __init__(self, dim: int, kernel_size: int):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"depthwise_conv_kernel_size={kernel_size}: must be odd and positive")
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return self.forward_plain(x)
        # (B, T, D) in memory is also an image with D channels in channels-last layout. A CPU vectorises that over the
        # channels. The gradient of the weights is fast for T rows of one column; the forward pass alone is faster, and
        # needs no copies, for one row of T columns.
        reach = self.kernel_size[0] // 2
        one, padding = (3, (reach, 0)) if torch.is_grad_enabled() else (2, (0, reach))  # the axis of size 1
        image = x.transpose(1, 2).unsqueeze(one)  # (B, T, D) -> (B, D, 1, T) or (B, D, T, 1), a view
        y = F.conv2d(image, self.weight.unsqueeze(one), self.bias, padding=padding, groups=self.groups)
        return y.squeeze(one).transpose(1, 2)  # -> (B, T, D), a view

    def forward_plain(self, x: Tensor) -> Tensor:
        """The same by torch's one-dimensional convolution, with two transposes. (B, T, D) -> (B, T, D)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
