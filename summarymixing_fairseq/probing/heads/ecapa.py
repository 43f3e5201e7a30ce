"""ECAPA-TDNN (Desplanques, Thienpondt and Demuynck 2020, arXiv 2005.07143)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .batch_norm import MaskedBatchNorm1d
from .classifier import build_classifier
from .head import ProbeHead, require_positive
from .pooling import AttentiveStatisticsPooling
from .squeeze_excitation import SqueezeExcitation
from .tdnn import TdnnLayer

# Figure 2 of the paper
STEM_KERNEL_SIZE = 5
BLOCK_KERNEL_SIZE = 3
BLOCK_DILATIONS = [2, 3, 4]


class SeRes2Block(nn.Module):
    """1x1 layer, Res2Net's dilated layers, 1x1 layer, squeeze-and-excitation, residual (section 3.2, Figure 1).

    Res2Net (Gao et al. 2021, equation 1): of ``scale`` groups of channels the first is passed on, each other goes
    through a layer of its own, the output of the group before added from the third on.

    Args:
        channels: C; dilation: of the grouped layers; scale: groups; se_dim: bottleneck of squeeze-and-excitation.
    """

    def __init__(self, channels: int, dilation: int, scale: int, se_dim: int):
        super().__init__()
        self.scale = scale
        width = channels // scale
        self.before = TdnnLayer(channels, channels)
        self.groups = nn.ModuleList(TdnnLayer(width, width, BLOCK_KERNEL_SIZE, dilation) for _ in range(scale - 1))
        self.after = TdnnLayer(channels, channels)
        self.squeeze_excitation = SqueezeExcitation(channels, se_dim, F.relu)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, C), zero at padded frames, (B, T) bool True = padding or None -> (B, T, C), zero there too."""
        first, *rest = self.before(x, padding_mask)[0].chunk(self.scale, dim=-1)
        outputs = [first]
        for i, (layer, group) in enumerate(zip(self.groups, rest)):
            outputs.append(layer(group + outputs[-1] if i else group, padding_mask)[0])
        y, _ = self.after(torch.cat(outputs, dim=-1), padding_mask)
        return x + self.squeeze_excitation(y, padding_mask)


class EcapaTdnn(ProbeHead):
    """Layer, three SE-Res2Blocks, aggregation of all blocks, attentive statistics, embedding, output (Figure 2).

    A block's input is the sum of the outputs of all layers before it (section 3.3). Convolutions keep T; padded frames
    are zero before each of them, as beyond the end of a clip on its own.

    Args:
        input_dim: D; num_classes: speakers, or other classes of clips.
        embedding_dim: 512 as in MP3S (arXiv 2308.14456) on VoxCeleb; 192 in the paper.
        channels: C of the paper, 512 or 1024; aggregated_channels: of the layer on all blocks' outputs.
        attention_dim, se_dim: bottlenecks of the pooling and of squeeze-and-excitation; scale: groups of a block.
        cosine: give cosines for ``aam_logits`` rather than logits.

    Raises:
        ValueError: for channels that ``scale`` does not divide.
    """

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        *,
        embedding_dim: int = 512,
        channels: int = 512,
        aggregated_channels: int = 1536,
        attention_dim: int = 128,
        se_dim: int = 128,
        scale: int = 8,
        cosine: bool = False,
    ):
        super().__init__(input_dim, num_classes)
        require_positive(
            embedding_dim=embedding_dim,
            channels=channels,
            aggregated_channels=aggregated_channels,
            attention_dim=attention_dim,
            se_dim=se_dim,
            scale=scale,
        )
        if channels % scale:
            raise ValueError(f"channels={channels}: must be a multiple of scale={scale}")
        self.gives_cosines = cosine
        self.embedding_dim = embedding_dim
        self.stem = TdnnLayer(input_dim, channels, STEM_KERNEL_SIZE)
        self.blocks = nn.ModuleList(SeRes2Block(channels, dilation, scale, se_dim) for dilation in BLOCK_DILATIONS)
        self.aggregate = nn.Linear(len(BLOCK_DILATIONS) * channels, aggregated_channels)
        self.pool = AttentiveStatisticsPooling(aggregated_channels, attention_dim)
        self.pool_norm = MaskedBatchNorm1d(2 * aggregated_channels)
        self.embedding = nn.Linear(2 * aggregated_channels, embedding_dim)
        self.embedding_norm = MaskedBatchNorm1d(embedding_dim)
        self.classifier = build_classifier(embedding_dim, num_classes, cosine)

    def embed(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> (B, embedding_dim)."""
        x, padding_mask, _ = self.checked(x, padding_mask)
        x, _ = self.stem(x, padding_mask)
        outputs = []
        for block in self.blocks:
            outputs.append(block(x, padding_mask))
            x = x + outputs[-1]
        x = F.relu(self.aggregate(torch.cat(outputs, dim=-1)))  # 3 x (B, T, C) -> (B, T, 3 C) -> (B, T, aggregated)
        return self.embedding_norm(self.embedding(self.pool_norm(self.pool(x, padding_mask))))

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> logits, or cosines, (B, num_classes)."""
        return self.classifier(self.embed(x, padding_mask))
