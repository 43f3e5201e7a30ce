"""Depthwise convolution over time on (B, T, D)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..precision import cast


class DepthwiseConv(nn.Conv1d):
    """Depthwise convolution over time, one filter a channel, with zeros before the first and after the last frame.

    Args:
        dim: D; kernel_size: odd.

    Raises:
        ValueError: for an even or negative kernel size.
    """

    bias: Tensor  # always there

    def __init__(self, dim: int, kernel_size: int):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"depthwise_conv_kernel_size={kernel_size}: must be odd and positive")
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        on_cpu = x.device.type == "cpu"
        if on_cpu and torch.compiler.is_compiling():
            return self.forward_plain(x)
        # On a CPU the gradient of the weights is fast for T rows of one column; the forward pass alone is faster, and
        # needs no copies, for one row of T columns. Of that cuDNN sees the layout; of T rows it does not.
        return self.forward_as_image(x, axis=3 if on_cpu and torch.is_grad_enabled() else 2)

    def forward_as_image(self, x: Tensor, axis: int) -> Tensor:
        """The same as a convolution of images with D channels, whose ``axis`` (2 or 3) has the size 1.

        (B, T, D) in memory is also such an image in channels-last layout: nothing is transposed, a CPU vectorises over
        the channels, and a GPU takes cuDNN's kernel in every dtype. (B, T, D) -> (B, T, D).
        """
        reach = self.kernel_size[0] // 2
        image = x.transpose(1, 2).unsqueeze(axis)  # (B, T, D) -> (B, D, 1, T) or (B, D, T, 1), a view
        padding = (0, reach) if axis == 2 else (reach, 0)
        y = F.conv2d(
            image,
            cast(self.weight, x.dtype).unsqueeze(axis),
            cast(self.bias, x.dtype),
            padding=padding,
            groups=self.groups,
        )
        return y.squeeze(axis).transpose(1, 2)  # -> (B, T, D), a view

    def forward_plain(self, x: Tensor) -> Tensor:
        """The same by torch's one-dimensional convolution, with two transposes. (B, T, D) -> (B, T, D)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
