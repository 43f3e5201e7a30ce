"""Taking up a run: of the same settings, without another run's state in this process, with all that it had counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fairseq import checkpoint_utils
from fairseq.optim import FairseqOptimizer
from fairseq.optim.composite import FairseqCompositeOptimizer
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule
from fairseq.trainer import Trainer
from fairseq_cli.train import should_stop_early
from omegaconf import OmegaConf
from torch import Tensor

from ...data.dictionary import difference
from ...system.errors import InputError
from ...system.precision import allow_tf32
from ..optim.new_bob import last_validation
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
    *("cache", "cache_max_gib", "num_batch_buckets", "tpu"),
    *("recompute", "compile_layers", "checkpoint_activations", "ddp_backend", "min_params_to_wrap"),
}
_PATHS = ("data", "target_dictionary", "_path", "_dir", "_file", "_kenlm_model", "_lexicon")
_MOST_NAMED = 8
# Characters that a message shows of an error of torch's.
_SHOWN = 300

_load_checkpoint = checkpoint_utils.load_checkpoint
_load_into_trainer = Trainer.load_checkpoint
_load_optimizer = FairseqOptimizer.load_state_dict
_save_halves = _FP16OptimizerMixin.state_dict
_load_halves = _FP16OptimizerMixin.load_state_dict
_save_plateau = ReduceLROnPlateauLRSchedule.state_dict
_load_plateau = ReduceLROnPlateauLRSchedule.load_state_dict


def load_checkpoint(cfg: Any, trainer: Trainer, **kwargs: Any) -> tuple[Any, Any]:
    """fairseq's, which begins or takes up a run, without what an earlier run of this process left: ``-m`` runs many.

    Raises:
        InputError: for a ``checkpoint.restore_file`` that is not there, where fairseq begins anew and writes over the
            run's checkpoints; for such a ``checkpoint.finetune_from_model``, or one beside what contradicts it.
    """
    _check_finetune_from_model(cfg, trainer)
    path = Path(cfg.restore_file.replace(".pt", f"{trainer.checkpoint_suffix}.pt"))  # as fairseq names a shard's
    if cfg.restore_file != "checkpoint_last.pt" and not path.is_file():
        raise InputError(f"checkpoint.restore_file={path}: no such file below {Path.cwd()}")
    # flags of the process, which an earlier run may have set; before a probe computes features of a frozen encoder
    allow_tf32(trainer.cfg.common.amp)
    vars(checkpoint_utils.save_checkpoint).clear()
    vars(should_stop_early).clear()
    last_validation.clear()
    FairseqCompositeOptimizer.optimizers, FairseqCompositeOptimizer.lr_schedulers = {}, {}
    return _load_checkpoint(cfg, trainer, **kwargs)


def _check_finetune_from_model(cfg: Any, trainer: Trainer) -> None:
    """Raises InputError for a ``checkpoint.finetune_from_model`` that no run can begin from."""
    path = getattr(cfg, "finetune_from_model", None)
    if path is None:
        return
    last = Path(cfg.save_dir, f"checkpoint_last{trainer.checkpoint_suffix}.pt")
    if not (last.exists() or Path(path).is_file()):  # a run that goes on does not look at it
        raise InputError(f"checkpoint.finetune_from_model={path}: no such file")
    resets = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")
    beside = [name for name in resets if getattr(cfg, name)]
    if beside or cfg.restore_file != "checkpoint_last.pt":
        name = beside[0] if beside else "restore_file"
        raise InputError(
            f"checkpoint.finetune_from_model takes the weights alone: leave checkpoint.{name} as it is by default"
        )


def load_into_trainer(self: Trainer, filename: str, reset_optimizer: bool = False, *args: Any, **kwargs: Any) -> Any:
    """fairseq's, but ``checkpoint_last.pt`` of ``checkpoint.save_dir`` must be of the same settings.

    One that is named by ``checkpoint.restore_file``, or of which something is reset, is taken up as it is.

    Raises:
        InputError: if it was written with others, naming the fields; for any checkpoint with other symbols than the
            dictionary's, weights that do not fit the model, the state of another optimizer, or none that is asked for.
    """
    cfg = self.cfg.checkpoint
    is_own = (
        cfg.restore_file == "checkpoint_last.pt"
        and Path(filename).parent == Path(cfg.save_dir)
        and not (cfg.reset_optimizer or cfg.reset_lr_scheduler)
    )
    read = checkpoint_utils.load_checkpoint_to_cpu

    def read_fitting(*args: Any, **kwargs: Any) -> Any:
        state = read(*args, **kwargs)
        saved = state.pop(SAVED_SETTINGS)
        _check_dictionary(state, self.task, filename)
        if not (reset_optimizer or state.get("last_optimizer_state")):
            raise InputError(
                f"{filename} has no state of the optimizer, so that no run goes on from it: begin one with its weights "
                f"by checkpoint.finetune_from_model={filename}, or go on with a new optimizer by "
                "checkpoint.reset_optimizer=true"
            )
        if is_own:
            check_settings(saved, self.cfg, filename)
            _check_pretrained(state, self.task, filename)
        if self.cfg.ema.store_ema:  # fairseq starts it from weights that it has deleted by then
            state["extra_state"].setdefault("ema", state["model"])
        return state

    checkpoint_utils.load_checkpoint_to_cpu = read_fitting
    try:
        return _load_into_trainer(self, filename, reset_optimizer, *args, **kwargs)
    except AssertionError as error:
        if "does not match; please reset the optimizer" not in str(error):
            raise
        what, _, classes = str(error).partition(" does not match; please reset the optimizer (--reset-optimizer). ")
        raise InputError(
            f"{filename} was written with another {what.lower()} ({classes.replace(' vs ', ', now ')}): go on with "
            "that one, or take the weights alone by checkpoint.reset_optimizer=true"
        ) from None
    except Exception as error:
        if not str(error).startswith("Cannot load model parameters from checkpoint"):
            raise
        reason = " ".join(str(error.__context__).split())
        raise InputError(f"{filename} is not of this model: {reason[:_SHOWN]}") from None
    finally:
        checkpoint_utils.load_checkpoint_to_cpu = read


def _check_dictionary(state: dict[str, Any], task: Any, filename: str) -> None:
    """Raises InputError if the labels' numbers mean other symbols than when the checkpoint was written."""
    saved = (state.get("task_state") or {}).get("target_dictionary")
    given = getattr(task, "target_dictionary", None)
    if saved is None or given is None or saved.symbols == given.symbols:
        return
    raise InputError(
        f"dict.{task.cfg.labels}.txt is not that of {filename}: {difference(given, saved)}; go on with the "
        f"dictionary that it was trained with, or start another run from it by model.w2v_path={filename}"
    )


def _check_pretrained(state: dict[str, Any], task: Any, filename: str) -> None:
    """Raises InputError if the checkpoint is of a run that fine-tunes another pre-trained model."""
    kept = state["extra_state"].get(type(task).__name__) or {}
    saved, given = kept.get("pretrained"), getattr(task, "pretrained", None)
    if saved and given and saved != given:
        raise InputError(
            f"{filename} was written by a run from another pre-trained model than model.w2v_path: choose another "
            f"checkpoint.save_dir or delete that checkpoint; to go on from it all the same: checkpoint.restore_file="
            f"{filename}"
        )


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


def load_optimizer(self: FairseqOptimizer, state_dict: dict[str, Any], optimizer_overrides: Any = None) -> None:
    """fairseq's, with this run's betas, weight decay and the like; fairseq's keeps the checkpoint's, against its own
    documentation. The learning rate is the schedule's."""
    own = {name: value for name, value in self.optimizer_config.items() if name != "lr"}
    _load_optimizer(self, state_dict, {**own, **(optimizer_overrides or {})})


def save_plateau(self: ReduceLROnPlateauLRSchedule) -> dict[str, Any]:
    """fairseq's, and for how many epochs nothing has improved."""
    return {**_save_plateau(self), "num_bad_epochs": self.lr_scheduler.num_bad_epochs}


def load_plateau(self: ReduceLROnPlateauLRSchedule, state_dict: dict[str, Any]) -> None:
    """Restore what ``save_plateau`` saved; fairseq's own state has no count."""
    _load_plateau(self, state_dict)
    self.lr_scheduler.num_bad_epochs = state_dict.get("num_bad_epochs", 0)


def save_masters(self: _FP16OptimizerMixin) -> dict[str, Any]:
    """fairseq's, and the float32 weights, of which those of the model are rounded copies."""
    return {**_save_halves(self), "masters": [weight.detach() for weight in _masters(self)]}


def load_masters(self: _FP16OptimizerMixin, state_dict: dict[str, Any], optimizer_overrides: Any = None) -> None:
    """Restore what ``save_masters`` saved; a checkpoint of version 0.1 or of another precision has none that fit."""
    _load_halves(self, state_dict, optimizer_overrides)
    saved, own = state_dict.get("masters", []), _masters(self)
    if [weight.shape for weight in saved] == [weight.shape for weight in own]:
        for weight, value in zip(own, saved):
            weight.data.copy_(value)


def _masters(optimizer: _FP16OptimizerMixin) -> list[Tensor]:
    """One tensor a parameter, or where they lie in one, one a device."""
    kept = optimizer.fp32_params
    return list(kept.values() if isinstance(kept, dict) else kept)
