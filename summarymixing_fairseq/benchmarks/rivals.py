"""What the plugin is compared with: fairseq's objective, and mixers as their formulas read."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from torch import Tensor, nn

from ..modules.mixing.attention import MultiHeadSelfAttention
from ..modules.mixing.heads import HeadOptions, keys_to_attend


class SoftmaxAttention(MultiHeadSelfAttention):
    """Attention with its T x T weights in memory, as ``torch.nn.MultiheadAttention`` computed it for the paper."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, padding_mask: Tensor | None) -> Tensor:
        """3 x (B, heads, T, D / heads), (B, T) bool True = padding -> (B, heads, T, D / heads)."""
        scores = q @ k.transpose(2, 3) * q.size(-1) ** -0.5  # (B, heads, T, T)
        attend = keys_to_attend(padding_mask)
        if attend is not None:
            scores = scores.masked_fill(~attend, float("-inf"))
        return self.dropout(scores.softmax(-1)) @ v


class LiteralCell(nn.Module):
    """The cell (arXiv 2407.13377, section 2): einsum for the heads, the summary repeated and concatenated."""

    def __init__(self, options: HeadOptions, embed_dim: int, dropout: float):
        super().__init__()
        head_dim = embed_dim // options.num_heads
        self.weights = nn.ParameterList(torch.empty(options.num_heads, head_dim, head_dim) for _ in range(4))
        self.biases = nn.ParameterList(torch.zeros(embed_dim) for _ in range(4))
        for weight in self.weights:
            nn.init.xavier_uniform_(weight)
        self.local_norm = nn.LayerNorm(embed_dim)
        self.summary_norm = nn.LayerNorm(embed_dim)
        self.dropout = nn.Dropout(dropout)
        self.combiner = nn.Linear(2 * embed_dim, embed_dim)

    def _layer(self, x: Tensor, index: int) -> Tensor:
        B, T, D = x.shape
        weight = self.weights[index]  # (heads, i, o)
        y = torch.einsum("bthi,hio->btho", x.view(B, T, weight.size(0), -1), weight)
        return F.gelu(y.reshape(B, T, D) + self.biases[index])

    def forward(self, x: Tensor, padding_mask: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, T) bool True = padding -> (B, T, D)."""
        local = self.local_norm(self._layer(self._layer(x, 0), 1))
        values = self._layer(self._layer(x, 2), 3)
        if padding_mask is None:
            mean = values.mean(1)
        else:
            mean = values.masked_fill(padding_mask[..., None], 0.0).sum(1) / (~padding_mask).sum(1, keepdim=True)
        summary = self.summary_norm(mean)[:, None].repeat(1, x.size(1), 1)  # (B, D) -> (B, T, D)
        return F.gelu(self.combiner(self.dropout(torch.cat([local, summary], -1))))


def sample_negatives(
    batch_size: int, num_masked: int, num_negatives: int, device: torch.device | None = None
) -> SimpleNamespace:
    """How many negatives to draw. fairseq draws them later, when it copies them from the targets."""
    return SimpleNamespace(n_negatives=num_negatives, cross_sample_negatives=0)


def info_nce_logits(
    context: Tensor, targets: Tensor, codes: Tensor, negatives: SimpleNamespace, temperature: float
) -> Tensor:
    """As ``modules.contrastive.info_nce_logits``, by ``Wav2Vec2Model.sample_negatives`` and ``compute_preds``.

    Returns:
        (B, M, 1 + N).
    """
    settings = SimpleNamespace(**vars(negatives), logit_temp=temperature)
    copies, _ = Wav2Vec2Model.sample_negatives(settings, targets, targets.size(1), padding_count=0)  # (N, B, M, C)
    logits = Wav2Vec2Model.compute_preds(settings, context, targets, copies)  # (1 + N, B, M)
    return logits.permute(1, 2, 0)
