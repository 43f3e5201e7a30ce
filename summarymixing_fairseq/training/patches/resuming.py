"""Taking up a run: of the same settings, without another run's state in this process, with all that it had counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from fairseq.optim.composite import FairseqCompositeOptimizer
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule
from fairseq.trainer import Trainer
from fairseq_cli.train import should_stop_early
from omegaconf import OmegaConf

from ...system.errors import InputError
from ..optim.new_bob import note_validation
from .checkpoints import SAVED_SETTINGS

# What makes another run: these fields, and of the other groups all fields but the free ones. Lengths, intervals,
# batching (max_tokens, update_freq), processes, workers and paths may change from one start to the next.
FIELDS = {
    "common": ("seed", "amp", "fp16", "bf16"),
    "dataset": ("train_subset",),
    "optimization": ("lr", "clip_norm", "sentence_avg"),
    "checkpoint": ("best_checkpoint_metric", "maximize_best_checkpoint_metric"),
}
GROUPS = ("model", "task", "criterion", "optimizer", "lr_scheduler")
FREE = {
    *("w2v_args", "encoder_sha256"),  # taken from the file of model.w2v_path, model.encoder_path
    *("max_update", "total_num_update", "metric"),  # follow other groups
    *(
        "max_bad_fraction",
        "allow_outside_root",
        "background_checkpoints",
        "health_updates",
        "min_codebook_use",
        "quality",
        "log_keys",
    ),
    *("cache", "cache_max_gib", "num_batch_buckets", "reuse_dataloader", "persistent_workers", "tpu"),
    *("recompute", "compile_layers", "checkpoint_activations", "ddp_backend", "min_params_to_wrap"),
}
_PATHS = ("data", "target_dictionary", "_path", "_dir", "_file", "_lm_model", "_lexicon")
_MOST_NAMED = 8

_load_checkpoint = checkpoint_utils.load_checkpoint
_load_into_trainer = Trainer.load_checkpoint
_save_plateau = ReduceLROnPlateauLRSchedule.state_dict
_load_plateau = ReduceLROnPlateauLRSchedule.load_state_dict


def load_checkpoint(cfg: Any, trainer: Trainer, **kwargs: Any) -> tuple[Any, Any]:
    """fairseq's, which begins or takes up a run, without what an earlier run of this process left: ``-m`` runs many.

    ``reduce_lr_on_plateau`` hears of a validation that ended the epoch before: fairseq saves before it tells schedules.
    """
    vars(checkpoint_utils.save_checkpoint).clear()
    vars(should_stop_early).clear()
    note_validation(0, {})
    FairseqCompositeOptimizer.optimizers, FairseqCompositeOptimizer.lr_schedulers = {}, {}
    extra_state, epoch_itr = _load_checkpoint(cfg, trainer, **kwargs)
    schedule = trainer.lr_scheduler
    restored = extra_state is not None and not (cfg.reset_optimizer or cfg.reset_lr_scheduler or cfg.reset_dataloader)
    if restored and isinstance(schedule, ReduceLROnPlateauLRSchedule):
        at = extra_state["train_iterator"]
        if at["iterations_in_epoch"] == 0 and extra_state.get("val_loss") is not None:
            trainer.lr_step(at["epoch"] - 1, extra_state["val_loss"])
    return extra_state, epoch_itr


def load_into_trainer(self: Trainer, filename: str, *args: Any, **kwargs: Any) -> Any:
    """fairseq's, but ``checkpoint_last.pt`` of ``checkpoint.save_dir`` must be of the same settings.

    One that is named by ``checkpoint.restore_file``, or of which something is reset, is taken up as it is.

    Raises:
        InputError: if it was written with others, naming the fields.
    """
    cfg = self.cfg.checkpoint
    if (
        cfg.restore_file != "checkpoint_last.pt"
        or Path(filename).parent != Path(cfg.save_dir)
        or cfg.reset_optimizer
        or cfg.reset_lr_scheduler
    ):
        return _load_into_trainer(self, filename, *args, **kwargs)
    read = checkpoint_utils.load_checkpoint_to_cpu

    def read_own(*args: Any, **kwargs: Any) -> Any:
        state = read(*args, **kwargs)
        check_settings(state.pop(SAVED_SETTINGS), self.cfg, filename)
        return state

    checkpoint_utils.load_checkpoint_to_cpu = read_own
    try:
        return _load_into_trainer(self, filename, *args, **kwargs)
    finally:
        checkpoint_utils.load_checkpoint_to_cpu = read


def check_settings(saved: Any, cfg: Any, filename: str) -> None:
    """Compare the configuration of a checkpoint with this run's: both have the groups of fairseq's.

    Raises:
        InputError: if a field of ``FIELDS`` or ``GROUPS`` differs that both have.
    """
    differing = list(_differences(_plain(saved), _plain(cfg)))
    if differing:
        more = len(differing) - _MOST_NAMED
        raise InputError(
            f"{filename} was written by a run of other settings: {', '.join(differing[:_MOST_NAMED])}"
            f"{f' and {more} more' if more > 0 else ''}. Choose another checkpoint.save_dir or delete that checkpoint; "
            f"to go on from it all the same: checkpoint.restore_file={filename}"
        )


def _plain(cfg: Any) -> Any:
    return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True) if OmegaConf.is_config(cfg) else cfg


def _differences(saved: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    named = {name for names in FIELDS.values() for name in names}
    for group in (*FIELDS, *GROUPS):
        old, new = saved.get(group), given.get(group)
        if not (isinstance(old, dict) and isinstance(new, dict)):
            continue
        if old.get("_name") != new.get("_name"):
            names = ["_name"]  # the other fields are other ones
        elif group in FIELDS:
            names = list(FIELDS[group])
        else:
            names = [name for name in old if name not in FREE | named and not name.endswith(_PATHS)]
        for name in names:
            # a field that one of them lacks is of another version
            if name in old and name in new and old[name] != new[name]:
                yield f"{group}.{name}={old[name]}, now {new[name]}"


def save_plateau(self: ReduceLROnPlateauLRSchedule) -> dict[str, Any]:
    """fairseq's, and for how many epochs nothing has improved."""
    return {**_save_plateau(self), "num_bad_epochs": self.lr_scheduler.num_bad_epochs}


def load_plateau(self: ReduceLROnPlateauLRSchedule, state_dict: dict[str, Any]) -> None:
    """Restore what ``save_plateau`` saved; fairseq's own state has no count."""
    _load_plateau(self, state_dict)
    self.lr_scheduler.num_bad_epochs = state_dict.get("num_bad_epochs", 0)
