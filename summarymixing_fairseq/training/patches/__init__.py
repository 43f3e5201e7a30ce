"""Every name of fairseq and hydra that is replaced, with the reason; ``install`` replaces them all."""

from __future__ import annotations

from typing import Any

import fairseq_cli.train
import hydra._internal.utils
from fairseq import checkpoint_utils, models
from fairseq import utils as fairseq_utils
from fairseq.data import iterators
from fairseq.data.iterators import EpochBatchIterator
from fairseq.dataclass import utils as dataclass_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.models import distributed_fairseq_model
from fairseq.optim import FairseqOptimizer
from fairseq.optim.amp_optimizer import AMPOptimizer
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule
from fairseq.trainer import Trainer
from hydra.errors import CompactHydraException

from ...checkpoints.untrusted_file import allow_fairseq_dictionary
from ...system.errors import InputError
from . import amp, background, checkpoints, configuration, position, processes, resuming, stopping, trainer

# (object, name, replacement, reason)
REPLACED: tuple[tuple[Any, str, Any, str], ...] = (
    (
        checkpoint_utils,
        "torch_persistent_save",
        background.save_whole,
        "a save that is killed or runs out of disk leaves a torn file under the final name",
    ),
    (
        PathManager,
        "copy",
        staticmethod(background.second_name),
        "checkpoint_best.pt and checkpoint_last.pt are plain copies, which a kill leaves torn",
    ),
    (
        checkpoint_utils,
        "save_checkpoint",
        background.save_checkpoint,
        "its writing in the background needs iopath, leaves out checkpoint_last.pt, and writes torn files",
    ),
    (
        Trainer,
        "state_dict",
        background.state_dict,
        "on a CPU it holds the live weights, which must not be written while they are trained",
    ),
    (
        checkpoint_utils,
        "verify_checkpoint_directory",
        checkpoints.prepare_folder,
        "two runs may write to one checkpoint.save_dir",
    ),
    (
        checkpoint_utils,
        "load_checkpoint_to_cpu",
        checkpoints.load_checkpoint_to_cpu,
        "what a checkpoint's configuration holds is evaluated, and its weights are not looked at",
    ),
    (
        checkpoint_utils,
        "load_checkpoint",
        resuming.load_checkpoint,
        "the best value and the count of checkpoint.patience pass from one run to the next in the same process",
    ),
    (
        Trainer,
        "load_checkpoint",
        resuming.load_into_trainer,
        "a run goes on from the checkpoint of another one, with other settings, if they share a folder",
    ),
    (
        EpochBatchIterator,
        "state_dict",
        position.state_dict,
        "the position in an epoch is a number of batches, without the number of batches in that epoch",
    ),
    (
        EpochBatchIterator,
        "load_state_dict",
        position.load_state_dict,
        "with another dataset.max_tokens or number of processes it is another position, or a traceback",
    ),
    (
        Trainer,
        "get_valid_iterator",
        position.get_valid_iterator,
        "the batches of a validation depend on how many there were since the run was started",
    ),
    (
        FairseqOptimizer,
        "load_state_dict",
        resuming.load_optimizer,
        "a run that goes on with other fields of the optimizer keeps the checkpoint's, and records the new ones",
    ),
    (
        _FP16OptimizerMixin,
        "state_dict",
        resuming.save_masters,
        "under common.bf16 and fp16 the float32 weights are not kept: a run goes on from rounded ones",
    ),
    (
        _FP16OptimizerMixin,
        "load_state_dict",
        resuming.load_masters,
        "the float32 weights of common.bf16 and fp16 are not restored",
    ),
    (
        ReduceLROnPlateauLRSchedule,
        "state_dict",
        resuming.save_plateau,
        "the count of epochs without progress is not kept",
    ),
    (
        ReduceLROnPlateauLRSchedule,
        "load_state_dict",
        resuming.load_plateau,
        "the count of epochs without progress is not restored",
    ),
    (
        distributed_utils,
        "all_gather_list",
        processes.all_gather_list,
        "it gathers through CUDA tensors, which processes on CPUs do not have",
    ),
    (
        distributed_utils,
        "_broadcast_object_slow",
        processes.broadcast_object,
        "its torch.load refuses fairseq's own classes since torch 2.6: no run of several processes resumes",
    ),
    (
        distributed_fairseq_model,
        "DistributedDataParallel",
        processes.CpuAwareDDP,
        "torch's DDP is given device numbers, which it refuses for a module on a CPU",
    ),
    (
        hydra._internal.utils,
        "CompactHydraException",
        (CompactHydraException, InputError),
        "an error that the user can correct stands below a traceback",
    ),
    (
        dataclass_utils,
        "merge_with_parent",
        configuration.merge_with_parent,
        "an unknown field is told in a traceback, without the names that there are",
    ),
    (
        models,
        "merge_with_parent",
        configuration.merge_with_parent,
        "a mixer's options in a checkpoint are lost: fine-tuning and decoding build it with its defaults",
    ),
    (
        fairseq_cli.train,
        "add_defaults",
        configuration.add_defaults,
        "log_format=simple is not shown in words, and a logger that is asked for but not installed is ignored",
    ),
    (
        fairseq_cli.train,
        "train",
        trainer.train,
        "a finished run does one more update at each start, and a run may end before its last checkpoint is written",
    ),
    (
        fairseq_cli.train,
        "get_valid_stats",
        stopping.get_valid_stats,
        "a metric that the task measures ends the second validation that looks for the best",
    ),
    (
        fairseq_cli.train,
        "validate",
        stopping.validate,
        "a validation metric that is NaN ends patience, and the next one is taken for the best",
    ),
    (
        fairseq_cli.train,
        "validate_and_save",
        stopping.validate_and_save,
        "Ctrl-C and SIGTERM end a run in a traceback, and all since the last checkpoint is lost",
    ),
    (
        Trainer,
        "train_step",
        trainer.train_step,
        "a task is not told where an update begins and ends, nor why one failed; where memory is short a batch is left "
        "out, and several GPUs wait for each other for ever",
    ),
    (
        iterators.GroupedIterator,
        "__init__",
        position.group,
        "a run that goes on with another update_freq leaves out the last batches of its epoch and begins that again",
    ),
    (
        Trainer,
        "lr_step",
        trainer.lr_step,
        "schedules hear of the validation that ends an epoch after the checkpoint is saved, which then lacks it",
    ),
    (
        AMPOptimizer,
        "__init__",
        amp.init,
        "common.amp knows no bfloat16, and takes amp_init_scale for amp_scale_window",
    ),
    (
        AMPOptimizer,
        "step",
        amp.step,
        "under common.amp gradients are divided by the loss scale twice: the optimizer sees next to nothing",
    ),
    (
        AMPOptimizer,
        "clip_grad_norm",
        amp.clip_grad_norm,
        "without a scaler a gradient that is not finite ends in an AttributeError",
    ),
    (
        fairseq_utils,
        "multi_tensor_total_norm",
        amp.total_norm,
        "without apex the norm of the gradients takes a kernel for each tensor",
    ),
    (
        fairseq_utils,
        "multi_tensor_l2norm_available",
        True,
        "it says whether apex is installed, which the replaced multi_tensor_total_norm does not need",
    ),
    (
        Trainer,
        "clip_grad_norm",
        trainer.clip_grad_norm,
        "the host waits for the GPU at every look at the norm, and at every number that a batch logs",
    ),
    (
        Trainer,
        "_aggregate_logging_outputs",
        trainer.aggregate_logging_outputs,
        "the host waits for the GPU at every number that the processes exchange",
    ),
)


def install() -> None:
    """Replace them, and let fairseq's dictionary be read from checkpoints. Doing it twice is harmless."""
    for owner, name, replacement, _ in REPLACED:
        setattr(owner, name, replacement)
    allow_fairseq_dictionary()
