"""Tell our tasks where an update begins and ends: fairseq's trainer calls a task for every batch only."""

from __future__ import annotations

import functools
from typing import Any

from fairseq.trainer import Trainer

_train_step = Trainer.train_step


@functools.wraps(_train_step)
def train_step(self: Trainer, samples: Any, raise_oom: bool = False) -> Any:
    """fairseq's, between ``begin_update`` and ``end_update`` of a task that has them.

    Where fairseq ends a run for a gradient that is not finite, the error says what ``explain_divergence`` finds.
    """
    task = self.task
    if not hasattr(task, "begin_update"):
        return _train_step(self, samples, raise_oom)
    task.begin_update(self)
    try:
        output = _train_step(self, samples, raise_oom)
    except FloatingPointError as error:
        raise FloatingPointError(task.explain_divergence(samples, error)) from error
    task.end_update()
    return output
