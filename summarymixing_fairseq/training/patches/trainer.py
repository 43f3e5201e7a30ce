"""fairseq's trainer, changed: tasks are told where an epoch and an update begin, a finished run is not trained on,
short memory ends a run in one line, and the norm of the gradients is read together with what the batches log.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

import fairseq_cli.train
import torch
from fairseq.trainer import Trainer
from torch import Tensor

from ...system.errors import InputError, is_out_of_memory
from ...system.transfers import read_numbers
from . import background, stopping

logger = logging.getLogger(__name__)

_train = fairseq_cli.train.train
_train_step = Trainer.train_step
_lr_step = Trainer.lr_step
_clip_grad_norm = Trainer.clip_grad_norm
_aggregate_logging_outputs = Trainer._aggregate_logging_outputs


@functools.wraps(_train)
def train(cfg: Any, trainer: Trainer, task: Any, epoch_itr: Any) -> tuple[list[float | None], bool]:
    """fairseq's, but a run whose checkpoint has all updates or hours, or ended for want of progress, is not trained on,
    and none ends before its last checkpoint is written.

    Returns validation losses, and whether the run ends here.
    """
    options = cfg.optimization
    num_updates, hours = trainer.get_num_updates(), trainer.cumulative_training_time() / 3600
    if 0 < options.max_update <= num_updates:
        limit = f"{num_updates} updates already, and optimization.max_update={options.max_update}"
    elif num_updates and 0 < options.stop_time_hours < hours:
        limit = f"{hours:.2f} hours already, and optimization.stop_time_hours={options.stop_time_hours}"
    elif 0 < cfg.checkpoint.patience <= (runs := getattr(fairseq_cli.train.should_stop_early, "num_runs", 0)):
        limit = f"{runs} validations without progress already, and checkpoint.patience={cfg.checkpoint.patience}"
    else:
        stopping.listen(task)
        if hasattr(task, "begin_run"):
            task.begin_run(trainer, epoch_itr)
        losses, should_stop = _train(cfg, trainer, task, epoch_itr)
        background.wait_if_last(cfg, epoch_itr, should_stop)
        return losses, should_stop
    logger.info("nothing is trained: the checkpoint has %s; raise it to train on", limit)
    return [None], True


@functools.wraps(_train_step)
def train_step(self: Trainer, samples: Any, raise_oom: bool = False) -> Any:
    """fairseq's, between ``begin_update`` and ``end_update`` of a task that has them.

    Where fairseq ends a run for a gradient that is not finite, the error says what ``explain_divergence`` finds.

    Raises:
        InputError: if memory is short: on one GPU after a second try with an empty cache, on several at once, as the
            others wait for this one. fairseq leaves the batch out, and several GPUs then wait for each other for ever.
    """
    task = self.task
    if not hasattr(task, "begin_update"):
        return _train_step(self, samples, raise_oom)
    if not self.is_fsdp:
        # at the end of an epoch fairseq fills up the batches of some processes by empty ones, and counts no target of a
        # process whose last batch is one, although its gradients are summed
        samples = [sample for sample in samples if sample] or samples[:1]
    num_updates = self.get_num_updates()
    try:
        output = _update(self, samples, tries=1 if self.data_parallel_world_size > 1 else 2)
    except _Explained:
        raise
    except FloatingPointError as error:
        raise _Explained(task.explain_divergence(samples, error)) from error
    if self.get_num_updates() > num_updates:
        self._amp_retries = 0  # of amp, for each batch anew: fairseq counts on
    task.end_update()
    return output


class _Explained(FloatingPointError):
    """One that says where it came from. Under amp an update is tried again inside itself, so that it comes twice."""


def _update(self: Trainer, samples: Any, tries: int) -> Any:
    self.task.begin_update(self, samples)
    try:
        return _train_step(self, samples, raise_oom=True)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if tries == 1:
            raise InputError(
                f"update {self.get_num_updates() + 1}: the memory is too small: lower "
                f"dataset.max_tokens={self.cfg.dataset.max_tokens} and raise optimization.update_freq, or "
                f"take +model.recompute=cheap ({str(error).splitlines()[0]})"
            ) from error
    # outside of the handler, whose error holds on to the memory of the update
    self.zero_grad()
    torch.cuda.empty_cache()
    return _update(self, samples, tries - 1)


@functools.wraps(_lr_step)
def lr_step(self: Trainer, epoch: int, val_loss: float | None = None) -> Any:
    """fairseq's, once for each epoch that a validation ends: see ``background.save_checkpoint``."""
    if val_loss is not None and getattr(self, "stepped_epoch", None) == epoch:
        return self.lr_step_update()
    if val_loss is not None:
        self.stepped_epoch = epoch
    return _lr_step(self, epoch, val_loss)


@functools.wraps(_clip_grad_norm)
def clip_grad_norm(self: Trainer, clip_norm: float) -> Tensor:
    """fairseq's, the norm on the CPU: it is read together with what the batches of the update log, in one copy.

    fairseq asks several times whether the norm is finite, and logs it: on a GPU the host would wait each time.

    Raises:
        FloatingPointError: for a norm that is not finite where no loss is scaled. fairseq, on several GPUs, would first
            compare the processes' norms, and call them inconsistent.
    """
    reads = hasattr(self.task, "read_update")
    try:
        norm = _clip_grad_norm(self, clip_norm)
    except (FloatingPointError, OverflowError):  # of a loss scale
        if reads:
            self.task.read_update({})
        raise
    if reads:
        read = {"norm": norm}
        self.task.read_update(read)
        norm = torch.tensor(read["norm"], dtype=norm.dtype)
    scaled = self.cfg.common.amp and self.optimizer.scaler.is_enabled()
    if not scaled and not torch.isfinite(norm).all():
        raise FloatingPointError("gradients are Nan/Inf")
    return norm


@functools.wraps(_aggregate_logging_outputs)
def aggregate_logging_outputs(self: Trainer, logging_outputs: list[dict[str, Any]], *sums: Any, **kwargs: Any) -> Any:
    """fairseq's, which copies tensor by tensor what the processes exchange: here all numbers are read at once."""
    read_numbers(logging_outputs)
    return _aggregate_logging_outputs(self, logging_outputs, *sums, **kwargs)
