"""What fairseq's checkpoints hold besides tensors and plain containers."""

from __future__ import annotations

import torch
from fairseq.data import Dictionary


def allow_fairseq_dictionary() -> None:
    """Let ``torch.load(weights_only=True)`` read the letter dictionary that ``audio_finetuning`` saves.

    Without this no fine-tuning run of fairseq's could resume on torch 2.6 or later. Safe: building a ``Dictionary``
    from a checkpoint sets attributes of plain types and runs no code of the file's.
    """
    if hasattr(torch.serialization, "add_safe_globals"):  # torch >= 2.5
        torch.serialization.add_safe_globals([Dictionary])
