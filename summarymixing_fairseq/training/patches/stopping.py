"""Ctrl-C and SIGTERM: a training ends between two updates, saved, with one line that says how to go on."""

from __future__ import annotations

import math
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import fairseq_cli.train
import torch.distributed as dist
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.trainer import Trainer

from ...system import interrupts
from ...system.errors import InputError
from ..optim.new_bob import last_validation
from . import background

# Of these the process is a training and nothing else, so that its signals are ours to handle.
COMMANDS = ("fairseq-hydra-train", "fairseq-train")
NOT_SAVED = "not saved (checkpoint.no_save, checkpoint.no_last_checkpoints)"

_get_valid_stats = fairseq_cli.train.get_valid_stats
_validate = fairseq_cli.train.validate
_validate_and_save = fairseq_cli.train.validate_and_save


def begin() -> None:
    """From here on a signal ends a training command with one line; there is nothing to save yet."""
    if _is_command():
        interrupts.install("interrupted before the first update")


def listen(task: Any) -> None:
    """From here on a signal is noted until the update is done. Where several processes train, the task must agree."""
    if _is_command() and (not _several() or hasattr(task, "told_to_stop")):
        interrupts.note("interrupted at once: what was trained since the last checkpoint is lost")


def get_valid_stats(cfg: Any, trainer: Trainer, stats: dict[str, Any], tracking_best: bool) -> dict[str, Any]:
    """fairseq's, which adds the best value so far of the metric that chooses checkpoints. One that the task measures is
    not there yet, and has no such value in the log."""
    chooses, measured = tracking_best, cfg.checkpoint.best_checkpoint_metric in stats
    stats = _get_valid_stats(cfg, trainer, stats, tracking_best and measured)
    return stats if chooses else _OfFurtherSet(stats)


class _OfFurtherSet(dict[str, Any]):
    """Numbers of a validation set that chooses no checkpoint. fairseq reads the metric that does from it all the same,
    which the task measures on the first set alone."""

    def __missing__(self, key: str) -> None:
        return None


def validate(*args: Any) -> list[float | None]:
    """fairseq's; a number that is NaN counts as none: fairseq would take the next one for the best of all."""
    return [None if loss is None or math.isnan(loss) else loss for loss in _validate(*args)]


def validate_and_save(
    cfg: Any, trainer: Trainer, task: Any, epoch_itr: Any, valid_subsets: list[str], end_of_epoch: bool
) -> tuple[list[float | None], bool]:
    """fairseq's, after each update. Then the run is saved and ends if a signal has asked for it.

    What is due at the update (a validation, a checkpoint) is done first, so that the run goes on as if never stopped.

    Raises:
        InputError: for a ``checkpoint.best_checkpoint_metric`` that the validation does not have; the run is saved.
    """
    num_updates = trainer.get_num_updates()
    losses: list[float | None] = [None]
    should_stop = False
    # an update that amp leaves out has the number of the one before, after which all that was due has been done
    if end_of_epoch or getattr(trainer, "updates_validated", None) != num_updates:
        try:
            losses, should_stop = _validate_and_save(cfg, trainer, task, epoch_itr, valid_subsets, end_of_epoch)
        except KeyError as error:
            _refuse_metric(error, cfg.checkpoint, trainer, epoch_itr)
            raise
        trainer.updates_validated = num_updates
    told = task.told_to_stop if _several() and hasattr(task, "told_to_stop") else bool(interrupts.noted())
    if told and not should_stop:  # else the run is at its end anyway
        if background.saved_update(trainer) != trainer.get_num_updates():
            checkpoint_utils.save_checkpoint(cfg.checkpoint, trainer, epoch_itr, losses[0])
        background.wait()
        if _several():
            dist.barrier()  # a process that ends takes the others down, which may be saving
        _end(cfg.checkpoint, trainer)
    task.waits_since = time.perf_counter()
    return losses, should_stop


def _refuse_metric(error: KeyError, cfg: Any, trainer: Trainer, epoch_itr: Any) -> None:
    """Raises InputError if fairseq looked for the metric that chooses the best checkpoint, and saves the run before."""
    name = cfg.best_checkpoint_metric
    if error.args != (name,):
        return
    checkpoint_utils.save_checkpoint(cfg, trainer, epoch_itr, None)
    background.wait()
    # of a run that was taken up nothing is known yet
    known = f", but {', '.join(sorted(last_validation))}" if last_validation else ""
    saved = f"saved; go on with another and checkpoint.restore_file={cfg.save_dir}/checkpoint_last.pt"
    raise InputError(
        f"checkpoint.best_checkpoint_metric={name}: the validation has no such number{known}; the run is "
        f"{NOT_SAVED if _keeps_nothing(cfg) else saved}"
    ) from None


def _keeps_nothing(cfg: Any) -> bool:
    return bool(cfg.no_save or cfg.no_last_checkpoints)


def _end(cfg: Any, trainer: Trainer) -> NoReturn:
    if trainer.is_data_parallel_master and interrupts.SILENT not in os.environ:
        changed = "".join(f" {one}" for one in _going_on(cfg))
        how = f"by: {command()}{changed}"
        if _several():  # what a launcher started this process with is not known here
            how = f"by the command that started it{' with' if changed else ''}{changed}"
        saved = f"saved as {cfg.save_dir}/checkpoint_last.pt; go on {how}"
        if _keeps_nothing(cfg):
            saved = NOT_SAVED
        print(f"interrupted after update {trainer.get_num_updates()}, {saved}", file=sys.stderr, flush=True)
    interrupts.ignore()  # torch tells the others to end as soon as one has
    # not the handler's end: loggers (TensorBoard, W&B) have something to write
    sys.exit(128 + (interrupts.noted() or signal.SIGTERM))


def _going_on(cfg: Any) -> list[str]:
    """What hydra's command line needs besides to take up ``checkpoint_last.pt`` where it began another way."""
    if Path(sys.argv[0]).name != COMMANDS[0]:
        return []
    usual = {"restore_file": "checkpoint_last.pt"}
    usual |= {f"reset_{what}": "false" for what in ("optimizer", "lr_scheduler", "meters", "dataloader")}
    return [f"checkpoint.{name}={value}" for name, value in usual.items() if str(getattr(cfg, name)).lower() != value]


def command() -> str:
    """This process's command line, for a shell."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _is_command() -> bool:
    return Path(sys.argv[0]).name in COMMANDS


def _several() -> bool:
    return distributed_utils.get_global_world_size() > 1
