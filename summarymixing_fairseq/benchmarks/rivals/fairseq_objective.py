"""fairseq's own negatives and predictions, with the signatures of ``modules.contrastive``."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from fairseq.models.wav2vec.wav2vec2 import Wav2Vec2Model
from torch import Tensor


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
