"""Time-delay layer of x-vector and ECAPA-TDNN: dilated convolution, ReLU, batch norm, in this order."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import MaskedBatchNorm1d


class TdnnLayer(nn.Module):
    """Convolution over time, ReLU, batch norm over valid frames.

    Args:
        input_dim, output_dim: channels.
        kernel_size: odd; dilation: frames from one tap to the next.
        same: pad with zeros at both ends, so that T stays; otherwise the output is ``2 * reach`` frames shorter.
    """

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int = 1, dilation: int = 1, same: bool = True):
        super().__init__()
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
        return self.norm(F.relu(y), padding_mask), padding_mask
