"""ECAPA-TDNN (Desplanques, Thienpondt and Demuynck 2020, arXiv 2005.07143)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...system.errors import InputError
from .head import EmbeddingHead, register_head, require_positive
from .layers import MaskedBatchNorm1d, SqueezeExcitation, TdnnLayer, build_classifier
from .pooling import AttentiveStatisticsPooling

# Figure 2 and section 4.1 of the paper
STEM_KERNEL_SIZE = 5
BLOCK_KERNEL_SIZE = 3
BLOCK_DILATIONS = [2, 3, 4]
RES2_SCALE = 8
SE_DIM = 128


class SeRes2Block(nn.Module):
    """1x1 layer, Res2Net's dilated layers, 1x1 layer, squeeze-and-excitation, residual (section 3.2, Figure 1).

    Res2Net (Gao et al. 2021, equation 1): the channels are split into ``RES2_SCALE`` groups. The first group is passed
    on. Each other group goes through a layer of its own; from the third on, the output of the previous group is added
    to its input.

    Args:
        channels: C, a multiple of ``RES2_SCALE``; dilation: of the grouped layers.
    """

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        width = channels // RES2_SCALE
        self.before = TdnnLayer(channels, channels)
        self.groups = nn.ModuleList(TdnnLayer(width, width, BLOCK_KERNEL_SIZE, dilation) for _ in range(RES2_SCALE - 1))
        self.after = TdnnLayer(channels, channels)
        self.squeeze_excitation = SqueezeExcitation(channels, SE_DIM, F.relu)

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, C), zero at padded frames, (B, T) bool True = padding or None -> (B, T, C), zero there too."""
        first, *rest = self.before(x, padding_mask)[0].chunk(RES2_SCALE, dim=-1)
        outputs = [first]
        for i, (layer, group) in enumerate(zip(self.groups, rest)):
            outputs.append(layer(group + outputs[-1] if i else group, padding_mask)[0])
        y, _ = self.after(torch.cat(outputs, dim=-1), padding_mask)
        return x + self.squeeze_excitation(y, padding_mask)


@register_head("ecapa")
class EcapaTdnn(EmbeddingHead):
    """Layer, three SE-Res2Blocks, aggregation of all blocks, attentive statistics, embedding, output (Figure 2).

    A block's input is the sum of the outputs of all layers before it (section 3.3). Convolutions keep T. Padded frames
    are zero before each convolution, just as frames beyond the end of a single clip are.

    Args:
        input_dim: D; num_classes: speakers, or other classes of clips.
        embedding_dim: in MP3S (arXiv 2308.14456) 512 on VoxCeleb, 96 on IEMOCAP; 192 in the paper.
        attention_dim: of ``AttentiveStatisticsPooling``, 128 as in the paper; MP3S has 64 on IEMOCAP.
        channels: C of the paper, 512 or 1024; aggregated_channels: of the layer on all blocks' outputs.
        cosine: give cosines for ``aam_logits`` instead of logits.

    Raises:
        InputError: for channels that are not a multiple of ``RES2_SCALE``.
    """

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        *,
        embedding_dim: int = 512,
        attention_dim: int = 128,
        channels: int = 512,
        aggregated_channels: int = 1536,
        cosine: bool = False,
    ):
        super().__init__(input_dim, num_classes)
        require_positive(embedding_dim=embedding_dim, attention_dim=attention_dim)
        require_positive(channels=channels, aggregated_channels=aggregated_channels)
        if channels % RES2_SCALE:
            raise InputError(f"channels={channels}: must be a multiple of {RES2_SCALE}")
        self.gives_cosines = cosine
        self.embedding_dim = embedding_dim
        self.stem = TdnnLayer(input_dim, channels, STEM_KERNEL_SIZE)
        self.blocks = nn.ModuleList(SeRes2Block(channels, dilation) for dilation in BLOCK_DILATIONS)
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
