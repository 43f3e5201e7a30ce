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
    """

    bias: Tensor  # always there

    def __init__(self, dim: int, kernel_size: int):
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        if x.device.type == "cpu" and torch.compiler.is_compiling():
            return self.forward_plain(x)
        return self.forward_as_image(x, self._axis(x))

    def forward_in_chunks(self, x: Tensor, size: int) -> Tensor:
        """The same with zeros in place of what comes after the chunk of ``size`` frames that a frame is in.

        The left half of the filter, the frame itself included, is applied to the whole clip, the right half to each
        chunk alone, and both are added. (B, T, D) -> (B, T, D).
        """
        T, reach, axis = x.size(1), self.kernel_size[0] // 2, self._axis(x)
        y = self._image(F.pad(x, (0, 0, reach, 0)), self.weight[..., : reach + 1], self.bias, axis)
        if not reach:
            return y
        chunks = F.pad(x, (0, 0, 0, -T % size)).unflatten(1, (-1, size))  # (B, chunks, size, D)
        to_come = F.pad(chunks[:, :, 1:], (0, 0, 0, reach)).flatten(0, 1)
        after = self._image(to_come, self.weight[..., reach + 1 :], None, axis)
        return y + after.reshape(x.size(0), -1, x.size(2))[:, :T]

    def forward_as_image(self, x: Tensor, axis: int) -> Tensor:
        """The same as a convolution of images with D channels, whose ``axis`` (2 or 3) has the size 1.

        (B, T, D) in memory is also such an image in channels-last layout: nothing is transposed, a CPU vectorises over
        the channels, and a GPU takes cuDNN's kernel in every dtype. (B, T, D) -> (B, T, D).
        """
        return self._image(x, self.weight, self.bias, axis, self.kernel_size[0] // 2)

    @staticmethod
    def _axis(x: Tensor) -> int:
        # On a CPU the gradient of the weights is fast for T rows of one column; the forward pass alone is faster, and
        # needs no copies, for one row of T columns. cuDNN recognises the channels-last layout of the latter alone.
        return 3 if x.device.type == "cpu" and torch.is_grad_enabled() else 2

    def _image(self, x: Tensor, weight: Tensor, bias: Tensor | None, axis: int, padding: int = 0) -> Tensor:
        image = x.transpose(1, 2).unsqueeze(axis)  # (B, T, D) -> (B, D, 1, T) or (B, D, T, 1), a view
        y = F.conv2d(
            image,
            cast(weight, x.dtype).unsqueeze(axis),
            None if bias is None else cast(bias, x.dtype),
            padding=(0, padding) if axis == 2 else (padding, 0),
            groups=self.groups,
        )
        return y.squeeze(axis).transpose(1, 2)  # -> (B, T, D), a view

    def forward_plain(self, x: Tensor) -> Tensor:
        """The same by torch's one-dimensional convolution, with two transposes. (B, T, D) -> (B, T, D)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, T, D) -> (B, D, T) -> (B, T, D)
