"""Where a run goes on in an epoch, by its share: a number of batches depends on batching. Also what is left of an
epoch, and validation's epoch."""

from __future__ import annotations

import logging
import math
from typing import Any

from fairseq.data.iterators import CountingIterator, EpochBatchIterator, GroupedIterator, _chunk_iterator
from fairseq.trainer import Trainer

logger = logging.getLogger(__name__)

_state_dict = EpochBatchIterator.state_dict
_load_state_dict = EpochBatchIterator.load_state_dict
_get_valid_iterator = Trainer.get_valid_iterator


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


def group(self: GroupedIterator, iterable: Any, chunk_size: int, skip_remainder_batch: bool = False) -> None:
    """fairseq's ``__init__``, but of the batches that are left.

    Where an epoch goes on after batches that do not fill its updates, as with another ``optimization.update_freq``,
    fairseq counts an update too few: the last batches are not heard, the epoch does not end, and begins again.
    """
    left = len(iterable) - iterable.n
    if skip_remainder_batch:
        left -= left % chunk_size
        iterable.take(iterable.n + left)
    done = math.ceil(iterable.n / chunk_size)
    chunks = _chunk_iterator(iterable, chunk_size, skip_remainder_batch)
    CountingIterator.__init__(self, chunks, start=done, total=done + math.ceil(left / chunk_size))
    self.chunk_size = chunk_size


def get_valid_iterator(self: Trainer, *args: Any, **kwargs: Any) -> Any:
    """fairseq's, always as of epoch 1, as fairseq means it ("keep validation data consistent across epochs").

    It keeps the iterator, whose epoch then counts the validations of this process: with ``task.rebuild_batches`` each
    has other batches, and a run that was taken up others than one that was not.
    """
    iterator = _get_valid_iterator(self, *args, **kwargs)
    if isinstance(iterator, EpochBatchIterator):  # some of fairseq's tasks give another kind
        iterator.epoch, iterator._cur_epoch_itr = 1, None
    return iterator
