"""Performer: softmax attention estimated by positive orthogonal random features, FAVOR+ (arXiv 2009.14794)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...system.options import option
from ..kernelised import kernelised_attention
from ..precision import at_least_float32
from .heads import HeadOptions, ProjectedHeads, keys_to_attend
from .registry import register_mixer

# Added to features that are at most 1: a query whose features no key shares hears all keys alike.
SPARE = 1e-6


@dataclass
class PerformerOptions(HeadOptions):
    """Options of ``performer``."""

    num_features: int = option(256, "random features of a head; more are nearer to softmax", low=1, high=8192)


def orthogonal_features(num_heads: int, num_features: int, head_dim: int) -> Tensor:
    """Gaussian vectors, orthogonal in blocks of ``head_dim`` (section 2.4): (heads, features, head_dim)."""
    num_blocks = -(-num_features // head_dim)
    gaussian = torch.randn(num_heads, num_blocks, head_dim, head_dim, device="cpu")
    q, r = torch.linalg.qr(gaussian)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]  # else the directions are not uniform on the sphere
    directions = q.transpose(-2, -1).flatten(1, 2)[:, :num_features]
    lengths = torch.randn(num_heads, num_features, head_dim, device="cpu").norm(dim=-1)
    return directions * lengths[..., None]


@register_mixer("performer", PerformerOptions)
class Performer(ProjectedHeads):
    """Attention with the features phi(x) = exp(w_i . x' - |x'|^2 / 2), x' = x / d^(1/4) (lemma 1; algorithm 1).

    Features are divided by their largest, of a query or of a clip's valid keys, which leaves the weights as they are
    and no exponential out of range; then ``SPARE`` is added. They are computed in float32.

    The w_i are drawn when the layer is made, of each layer and head anew, and kept in the checkpoint. Deviation: the
    paper draws them again during training.

    Cost in T frames: time O(T D num_features), memory O(T heads num_features). Dropout is on the heads' output.
    """

    projection: Tensor

    def __init__(self, options: PerformerOptions, embed_dim: int, dropout: float):
        super().__init__(options, embed_dim, dropout)
        size = self.num_heads, options.num_features, embed_dim // self.num_heads
        device = self.in_proj.weight.device
        # drawn on the CPU wherever the layer is, but for one without memory, which is only counted
        features = torch.empty(size) if device.type == "meta" else orthogonal_features(*size).to(device)
        self.register_buffer("projection", features)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        q, k = self._exponents(q), self._exponents(k)
        attend = keys_to_attend(padding_mask)
        if attend is not None:
            k = k.masked_fill(~attend.transpose(2, 3), float("-inf"))
        q = (q - q.detach().amax(-1, keepdim=True)).exp() + SPARE
        k = (k - k.detach().amax((-2, -1), keepdim=True)).exp() + SPARE
        return self.dropout(kernelised_attention(q, k, v, padding_mask))

    def _exponents(self, x: Tensor) -> Tensor:
        """w_i . x' - |x'|^2 / 2: (B, heads, T, d) -> (B, heads, T, features)."""
        with torch.autocast(x.device.type, enabled=False):
            x = at_least_float32(x) * x.size(-1) ** -0.25
            w = self.projection.to(x.dtype)  # (heads, features, d)
            return x @ w.transpose(1, 2) - x.square().sum(-1, keepdim=True) / 2
