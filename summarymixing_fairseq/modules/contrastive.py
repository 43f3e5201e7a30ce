"""InfoNCE and its negatives over the masked frames of an utterance (wav2vec 2.0, arXiv 2006.11477, equation 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..system.errors import InputError

# The smallest norm to divide by, as in torch.cosine_similarity.
NORM_FLOOR = 1e-8


def sample_negatives(
    batch_size: int, num_masked: int, num_negatives: int, device: torch.device | None = None
) -> Tensor:
    """Draw the negatives of each masked frame uniformly from the other masked frames of its utterance.

    Returns:
        (B, M, num_negatives) int64, positions among the M masked frames.

    Raises:
        InputError: if an utterance has fewer than two masked frames.
    """
    if num_masked < 2:
        raise InputError(
            f"{num_masked} masked frame(s) in an utterance: negatives need at least 2; the clip is too short"
        )
    negatives = torch.randint(num_masked - 1, (batch_size, num_masked, num_negatives), device=device)
    own = torch.arange(num_masked, device=device)[None, :, None]
    return negatives + (negatives >= own)  # skip the frame's own position


def info_nce_logits(context: Tensor, targets: Tensor, codes: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cosine similarities of each masked frame with its target and its negatives, divided by the temperature.

    One matrix product of normalised vectors gives all M x M similarities of an utterance. Those of the negatives are
    gathered from it, which needs no copy of the targets for each negative.

    Args:
        context: (B, M, C) projected encoder outputs at the masked frames.
        targets: (B, M, C) projected quantized latents of the same frames.
        codes: (B, M) int64, equal if two targets are made of the same codebook entries.
        negatives: (B, M, N) int64 positions of the negatives, from ``sample_negatives``.
        temperature: divisor of the similarities.

    Returns:
        (B, M, 1 + N) float32, the positive first. A negative with the code of the positive is -inf.
    """
    with torch.autocast(context.device.type, enabled=False):
        context = F.normalize(context.float(), dim=-1, eps=NORM_FLOOR)
        targets = F.normalize(targets.float(), dim=-1, eps=NORM_FLOOR)
        similarity = torch.bmm(context, targets.transpose(1, 2)) / temperature  # (B, M, M)
    positive = similarity.diagonal(dim1=1, dim2=2)[..., None]  # (B, M, 1)
    # codes of the negatives: (B, M) -> (B, 1, M) -> (B, M, M) as a view -> (B, M, N)
    negative_codes = codes[:, None].expand_as(similarity).gather(2, negatives)
    is_positive = negative_codes == codes[..., None]
    negative = similarity.gather(2, negatives).masked_fill(is_positive, float("-inf"))
    return torch.cat([positive, negative], dim=2)
