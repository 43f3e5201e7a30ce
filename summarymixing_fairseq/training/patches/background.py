"""``task.background_checkpoints``: a thread writes a checkpoint while training goes on.

What is written is a copy of the moment of saving. One checkpoint is written at a time: the next save waits for it, and
so do the end of training and of the process. Second names follow the file that they name.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fairseq import checkpoint_utils, utils
from fairseq.logging import metrics
from fairseq.trainer import Trainer
from torch import Tensor

from ...system import interrupts
from ...system.errors import InputError
from . import checkpoints

logger = logging.getLogger(__name__)

CRASHED = "crash.pt"
_SAVED = "saved_update"  # attribute of a trainer

_save_checkpoint = checkpoint_utils.save_checkpoint
_state_dict = Trainer.state_dict

_writer = ThreadPoolExecutor(1)  # Python joins its thread before the process ends
_last: Future | None = None
_in_background = False


def save_checkpoint(cfg: Any, trainer: Trainer, epoch_itr: Any, val_loss: Any) -> Any:
    """fairseq's, once the save before is written.

    Where fairseq removes old checkpoints, the new one is not counted, as it may not be there yet: as many as were asked
    for are whole at any time, and one more until the next save. Schedules hear of the validation that ends an epoch
    first: fairseq tells them once the checkpoint is written, which then does not know of it.

    Raises:
        InputError: if a checkpoint, this or the one before, cannot be written; once it is saved, as a schedule does.
    """
    global _in_background
    wait()
    _in_background = bool(getattr(trainer.task.cfg, "background_checkpoints", False))
    if _in_background:
        _end_after_writing()
    try:
        try:
            if val_loss is not None and epoch_itr.end_of_epoch():
                with metrics.aggregate(new_root=True):  # the epoch's record has the rate that it was trained at
                    trainer.lr_step(epoch_itr.epoch, val_loss)
        finally:
            saved = _save_checkpoint(cfg, trainer, epoch_itr, val_loss)
    finally:
        _in_background = False
    setattr(trainer, _SAVED, trainer.get_num_updates())
    return saved


def saved_update(trainer: Trainer) -> int:
    """The number of updates at the last save of a trainer, -1 before the first."""
    return getattr(trainer, _SAVED, -1)


def state_dict(self: Trainer) -> dict[str, Any]:
    """fairseq's; for a write in the background without the live tensors of a CPU, which go on changing."""
    state = _state_dict(self)
    return utils.apply_to_sample(_copied, state) if _in_background else state


def _copied(tensor: Tensor) -> Tensor:
    return tensor.clone() if tensor.device.type == "cpu" else tensor  # fairseq itself copies from a GPU


def save_whole(state: Any, filename: str, async_write: bool = False) -> None:
    """``checkpoints.save_whole``, or a promise of it.

    fairseq saves crash.pt while it handles an error, which counts for more than that the disk is full.
    """
    try:
        _run(checkpoints.save_whole, state, filename)
    except InputError as error:
        if os.path.basename(filename) != CRASHED:
            raise
        logger.error("%s", error)


def second_name(source: str, target: str, overwrite: bool = False) -> bool:
    """``checkpoints.second_name``, or a promise of it. Returns True, as fairseq's ``PathManager.copy`` does."""
    if not _in_background:
        wait()  # of a save before, as where task.post_save_script asks for a copy
    _run(checkpoints.second_name, source, target)
    return True


def _run(write: Callable[..., Any], *arguments: Any) -> None:
    global _last
    if _in_background:
        _last = _writer.submit(_run_after, _last, write, *arguments)
    else:
        write(*arguments)


def _run_after(before: Future | None, write: Callable[..., Any], *arguments: Any) -> None:
    if before is not None:
        before.result()  # if that failed, so does this: an older file must not get the new one's second name
    started = time.perf_counter()
    write(*arguments)
    if before is None:  # the file itself; what follows are its second names
        logger.info("%s was written in the background in %.1f s", arguments[1], time.perf_counter() - started)


def wait() -> None:
    """Until nothing is being written. Raises InputError if it could not be."""
    global _last
    try:
        if _last is not None:
            _last.result()
    finally:
        _last = None  # not before: a signal may call this once more


@functools.cache
def _end_after_writing() -> None:
    """Have signals that would end this process at once wait for the file, as Python does at its end after Ctrl-C."""
    interrupts.register(wait)
    for number in interrupts.SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, interrupts.end)


def wait_if_last(cfg: Any, epoch_itr: Any, should_stop: bool) -> None:
    """Wait for the write where a run may end with this epoch. Raises InputError if it failed."""
    limits = cfg.optimization
    if should_stop or epoch_itr.next_epoch_idx > (limits.max_epoch or math.inf) or limits.stop_min_lr >= 0:
        wait()
