"""ContextNet (Han et al. 2020, arXiv 2005.03191) with a CTC output layer, all strides 1 as in MP3S."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ...modules.kernels.depthwise import DepthwiseConv
from ...system.errors import InputError
from .head import ProbeHead, register_head, require_positive
from .layers import MaskedBatchNorm1d, SqueezeExcitation

# Table 1 of the paper: convolutions, output channels at alpha = 1, residual connection; blocks C0 to C22
BLOCKS = [(1, 256, False), *[(5, 256, True)] * 10, *[(5, 512, True)] * 11, (1, 640, False)]
KERNEL_SIZE = 5
SE_REDUCTION = 8


class SeparableConv(nn.Module):
    """f(x) = Swish(BN(Conv(x))) (section 2.2). Conv is depthwise separable: K taps a channel, then a D -> D' matrix.

    Args:
        input_dim: D; output_dim: D'; kernel_size: K, odd.
    """

    def __init__(self, input_dim: int, output_dim: int, kernel_size: int):
        super().__init__()
        self.depthwise = DepthwiseConv(input_dim, kernel_size)
        self.pointwise = nn.Linear(input_dim, output_dim, bias=False)  # the norm has a bias
        self.norm = MaskedBatchNorm1d(output_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), zero at padded frames, (B, T) bool True = padding or None -> (B, T, D'), zero there too."""
        return F.silu(self.norm(self.pointwise(self.depthwise(x)), padding_mask))


class ContextNetBlock(nn.Module):
    """C(x) = Swish(SE(f(...f(x))) + P(x)) (section 2.2); without a residual connection SE(f(...f(x))).

    P is a pointwise projection with a batch norm. The paper does not mention that norm, but implementations have it.

    Args:
        input_dim: D; output_dim: D'; num_convs: how many f; residual: add P(x).
    """

    def __init__(self, input_dim: int, output_dim: int, num_convs: int, residual: bool):
        super().__init__()
        dims = [input_dim, *[output_dim] * num_convs]
        self.convs = nn.ModuleList(SeparableConv(d, e, KERNEL_SIZE) for d, e in zip(dims, dims[1:]))
        self.squeeze_excitation = SqueezeExcitation(output_dim, max(1, output_dim // SE_REDUCTION), F.silu)
        self.residual = residual
        if residual:
            self.project = nn.Linear(input_dim, output_dim, bias=False)
            self.project_norm = MaskedBatchNorm1d(output_dim)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), zero at padded frames, (B, T) bool True = padding or None -> (B, T, D'), zero there too."""
        y = x
        for conv in self.convs:
            y = conv(y, padding_mask)
        y = self.squeeze_excitation(y, padding_mask)
        if not self.residual:
            return y
        return F.silu(y + self.project_norm(self.project(x), padding_mask))


@register_head("contextnet_ctc")
class ContextNetCtc(ProbeHead):
    """ContextNet encoder and one linear layer a frame (MP3S, arXiv 2308.14456: probe 2 of English recognition).

    Deviation: all strides are 1, as in MP3S, because the encoder's frames are 20 ms apart already.

    Args:
        input_dim: D; num_classes: symbols, blank included.
        width: the paper's alpha, a factor of all channels: 256, 512, and 640 at the end. The paper has 0.5, 1 and 2.

    Raises:
        InputError: for a width that leaves no channel.
    """

    is_frame_level = True

    def __init__(self, input_dim: int, num_classes: int, *, width: float = 1.0):
        super().__init__(input_dim, num_classes)
        require_positive(width=width)
        dims = [input_dim, *(round(width * channels) for _, channels, _ in BLOCKS)]
        if min(dims) < 1:
            raise InputError(f"width={width}: leaves no channel of 256")
        self.blocks = nn.ModuleList(
            ContextNetBlock(d, e, num_convs, residual) for d, e, (num_convs, _, residual) in zip(dims, dims[1:], BLOCKS)
        )
        self.output = nn.Linear(dims[-1], num_classes)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits (B, T, num_classes)."""
        x, padding_mask, _ = self.checked(x, padding_mask)
        for block in self.blocks:
            x = block(x, padding_mask)
        return self.output(x)
