"""Position in an epoch as its share: fairseq keeps it in batches a process, which depend on how clips are batched."""

from __future__ import annotations

import logging
from typing import Any

from fairseq.data.iterators import EpochBatchIterator

logger = logging.getLogger(__name__)

_state_dict = EpochBatchIterator.state_dict
_load_state_dict = EpochBatchIterator.load_state_dict


def state_dict(self: EpochBatchIterator) -> dict[str, Any]:
    """fairseq's, and how many batches each process has in the epoch."""
    return {**_state_dict(self), "batches": len(self)}


def load_state_dict(self: EpochBatchIterator, state_dict: dict[str, Any]) -> None:
    """Go on at the same batch or, where ``dataset.max_tokens``, the processes or the clips have changed, at the same
    share of the epoch.

    A checkpoint without the number of batches, of version 0.1, goes on at the same batch, or at the last one.
    """
    batch = state_dict.get("iterations_in_epoch", 0)
    before, now = state_dict.get("batches", len(self)), len(self)
    if batch:
        here = min(round(batch * now / before), now - 1)
        if here != batch:
            logger.info(
                "epoch %d has %d batches a process where the checkpoint had %d (dataset.max_tokens, the number of "
                "processes or the clips are others): going on after %d of them, where the checkpoint was after %d",
                *(state_dict["epoch"], now, before, here, batch),
            )
        state_dict = {**state_dict, "iterations_in_epoch": here}
    _load_state_dict(self, state_dict)
