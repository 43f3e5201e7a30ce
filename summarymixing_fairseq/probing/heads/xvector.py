"""x-vector (Snyder et al. 2018, "X-Vectors: Robust DNN Embeddings for Speaker Recognition")."""

from __future__ import annotations

from torch import Tensor, nn

from ...system.errors import InputError
from .head import EmbeddingHead, register_head, require_positive
from .layers import MaskedBatchNorm1d, TdnnLayer, build_classifier
from .pooling import masked_mean_std

# Table 1 of the paper, frame1 to frame5: taps, and frames between two of them
KERNELS_AND_DILATIONS = [(5, 1), (3, 2), (3, 3), (1, 1), (1, 1)]
POOLED_CHANNELS = 1500
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


@register_head("xvector")
class XVector(EmbeddingHead):
    """Five time-delay layers, statistics pooling, segment6 (the embedding), segment7, output (Table 1 of the paper).

    Convolutions have no padding, as in the paper: each frame before the pooling depends on 15 frames of the clip. Each
    nonlinear layer is affine, ReLU, batch norm. The embedding is segment6's affine output (section 2.3).

    Deviations, as MP3S (arXiv 2308.14456) runs it: with ``cosine`` the scores are cosines to segment7's output, for an
    angular margin that the paper does not have; and LeakyReLU, of slope 0.01 below zero, in place of ReLU.

    Args:
        input_dim: D; num_classes: speakers.
        embedding_dim: width of segment6 and segment7; channels: of frame1 to frame4.
        activation: "relu" or "leaky_relu".
        cosine: give cosines for ``aam_logits`` instead of logits.

    Raises:
        InputError: for another activation.
    """

    min_frames = 1 + sum((kernel_size - 1) * dilation for kernel_size, dilation in KERNELS_AND_DILATIONS)

    def __init__(
        self,
        input_dim: int,
        num_classes: int,
        *,
        embedding_dim: int = 512,
        channels: int = 512,
        activation: str = "relu",
        cosine: bool = False,
    ):
        super().__init__(input_dim, num_classes)
        require_positive(embedding_dim=embedding_dim, channels=channels)
        if activation not in ACTIVATIONS:
            raise InputError(f"activation={activation!r}: choose {' or '.join(ACTIVATIONS)}")
        activate = ACTIVATIONS[activation]
        self.gives_cosines = cosine
        self.embedding_dim = embedding_dim
        dims = [input_dim, *[channels] * 4, POOLED_CHANNELS]
        self.frame_layers = nn.ModuleList(
            TdnnLayer(d, e, kernel_size, dilation, same=False, activation=activate())
            for d, e, (kernel_size, dilation) in zip(dims, dims[1:], KERNELS_AND_DILATIONS)
        )
        self.segment6 = nn.Linear(2 * POOLED_CHANNELS, embedding_dim)
        self.classifier = nn.Sequential(
            activate(),
            MaskedBatchNorm1d(embedding_dim),
            nn.Linear(embedding_dim, embedding_dim),  # segment7
            activate(),
            MaskedBatchNorm1d(embedding_dim),
            build_classifier(embedding_dim, num_classes, cosine),
        )

    def embed(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding or None -> (B, embedding_dim).

        Raises:
            ValueError: for a clip of fewer than 15 valid frames.
        """
        x, padding_mask, _ = self.checked(x, padding_mask)
        for layer in self.frame_layers:
            x, padding_mask = layer(x, padding_mask)
        return self.segment6(masked_mean_std(x, padding_mask))
