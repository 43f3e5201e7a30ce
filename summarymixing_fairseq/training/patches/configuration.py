"""What a run's configuration says, read as soon as fairseq knows our models and tasks."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import fairseq_cli.train
import torch
from fairseq.dataclass import utils
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf, open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from ...system.errors import InputError
from . import logs

_add_defaults = fairseq_cli.train.add_defaults
_merge_with_parent = utils.merge_with_parent


def add_defaults(cfg: Any) -> None:
    """fairseq's, which fills in the fields that a configuration leaves out; then how to log is read.

    Raises:
        InputError: for a logger that is asked for and not installed, and for settings that no run can have.
    """
    _check_names(cfg)
    _check_numbers(cfg)
    _add_defaults(cfg)
    if (last := OmegaConf.select(cfg, "lr_scheduler.total_num_update")) is not None and float(last) <= 0:
        raise InputError(
            f"lr_scheduler.total_num_update={last}, of optimization.max_update where it is not set: must be above 0"
        )
    logs.read(cfg)


def _check_names(cfg: Any) -> None:
    """Raises InputError for a task, model, criterion, optimizer or schedule that nobody has registered."""
    known: dict[str, Any] = {"task": TASK_REGISTRY, "model": {**MODEL_REGISTRY, **ARCH_MODEL_NAME_REGISTRY}}
    known |= {group: registry["registry"] for group, registry in REGISTRIES.items()}
    for group in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        name = OmegaConf.select(cfg, f"{group}._name")
        if name is not None and name not in known[group]:
            near = difflib.get_close_matches(str(name), known[group], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"{group}._name={name}: there is no such {group}{hint}")


def _check_numbers(cfg: Any) -> None:
    """Raises InputError for numbers that fairseq would meet with an assertion or a traceback."""
    common, optimization = cfg.common, cfg.optimization
    if not 0 <= common.seed < 2**32:
        raise InputError(f"common.seed={common.seed}: must be from 0 to {2**32 - 1}")
    if common.fp16 and (common.cpu or not torch.cuda.is_available()):
        raise InputError("common.fp16=true: a CPU cannot train in fp16; take common.bf16 or neither")
    if not optimization.lr:
        raise InputError("optimization.lr=[]: needs a learning rate")
    if not optimization.update_freq or min(optimization.update_freq) < 1:
        raise InputError(f"optimization.update_freq={list(optimization.update_freq)}: must be at least 1")
    if cfg.dataset.num_workers < 0:
        raise InputError(f"dataset.num_workers={cfg.dataset.num_workers}: must be at least 0")


def merge_with_parent(dc: Any, cfg: Any, remove_missing: bool = False) -> Any:
    """fairseq's, which fills in the fields of one group.

    Args:
        remove_missing: for the configuration in a checkpoint: drop fields that there are no more. fairseq also drops
            all that stands in a dictionary whose default is empty, such as the options of a mixer. Here they stay.

    Raises:
        InputError: for a field that there is not, with the one of the nearest name, or a value of another type.
    """
    names = [field.name for field in dataclasses.fields(dc) if field.default_factory is dict]
    kept = {name: cfg[name] for name in names if remove_missing and name in cfg}
    with open_dict(cfg):
        for name in kept:
            del cfg[name]
    try:
        merged = _merge_with_parent(dc, cfg, remove_missing)
    except ValidationError as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{cfg._key()}.{error.full_key or error.key}: {reason}") from None
    except (ConfigAttributeError, ConfigKeyError):
        known = [field.name for field in dataclasses.fields(dc)]
        unknown = next((str(name) for name in cfg if name not in known), None)
        if unknown is None:
            raise
        group, near = cfg._key(), difflib.get_close_matches(unknown, known, 1)
        hint = f"; did you mean {group}.{near[0]}?" if near else ", nor one of a similar name"
        raise InputError(f"{group}.{unknown}: {cfg.get('_name', group)} has no such field{hint}") from None
    with open_dict(cfg):
        for name, options in kept.items():
            cfg[name] = merged[name] = options
    return merged
