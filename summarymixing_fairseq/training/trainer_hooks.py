"""Telling our tasks of each update: fairseq's trainer calls a task for every batch, but not where an update begins."""

from __future__ import annotations

import functools
from typing import Any

from fairseq.trainer import Trainer

_train_step = Trainer.train_step


@functools.wraps(_train_step)
def train_step(self: Trainer, samples: Any, raise_oom: bool = False) -> Any:
    """fairseq's, between ``begin_update`` and ``end_update`` of a task that has them.

    A non-finite gradient, for which fairseq raises FloatingPointError, is first explained by ``explain_divergence``.
    """
    task = self.task
    if not hasattr(task, "begin_update"):
        return _train_step(self, samples, raise_oom)
    task.begin_update(self)
    try:
        output = _train_step(self, samples, raise_oom)
    except FloatingPointError as error:
        task.explain_divergence(self, samples, error)
        raise
    task.end_update()
    return output


def install() -> None:
    """Have fairseq's trainer use it."""
    Trainer.train_step = train_step
