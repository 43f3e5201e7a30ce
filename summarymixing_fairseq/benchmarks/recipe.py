"""A pre-training recipe (YAML) as fairseq's trainer sees it, without data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import metrics, tasks
from fairseq.dataclass.configs import FairseqConfig
from fairseq.models import MODEL_DATACLASS_REGISTRY
from fairseq.registry import REGISTRIES
from fairseq.tasks import TASK_DATACLASS_REGISTRY
from fairseq.trainer import Trainer
from omegaconf import DictConfig, OmegaConf, open_dict

from .options import check_config


def _dataclass_of(group: str, name: str) -> Any:
    registry = {"task": TASK_DATACLASS_REGISTRY, "model": MODEL_DATACLASS_REGISTRY}.get(group)
    return (REGISTRIES[group]["dataclass_registry"] if registry is None else registry)[name]


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Configuration of a recipe as ``fairseq-hydra-train`` composes it.

    Args:
        path: a YAML as in ``examples/pretraining``; overrides: ``group.field=value`` each.

    Raises:
        InputError: for a file that is not there.
    """
    check_config(path)
    recipe = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides)))
    recipe.pop("hydra", None)
    cfg = OmegaConf.structured(FairseqConfig)
    for group in recipe:
        name = recipe[group].pop("_name", None)
        if name is None:
            cfg[group] = OmegaConf.merge(cfg[group], recipe[group])
            continue
        with open_dict(cfg):
            cfg[group] = OmegaConf.merge(OmegaConf.structured(_dataclass_of(group, name)), recipe[group])
        with open_dict(cfg[group]):
            cfg[group]._name = name
    return cfg


def precision_overrides(precision: str, device: torch.device) -> list[str]:
    """Overrides that train in one of ``options.PRECISIONS`` on one device."""
    return [f"common.{name}={str(name == precision).lower()}" for name in ("amp", "fp16", "bf16")] + [
        f"common.cpu={str(device.type == 'cpu').lower()}",
        "distributed_training.distributed_world_size=1",
    ]


def build_trainer(cfg: DictConfig) -> Trainer:
    """fairseq's trainer of a recipe: model, criterion and optimizer."""
    task = tasks.setup_task(cfg.task, from_checkpoint=True)  # which asks for no data
    torch.manual_seed(cfg.common.seed)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


def noise_batch(num_clips: int, num_samples: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """A batch as the task collates it: clips of equal length, of noise, as no time depends on what is said."""
    generator = torch.Generator().manual_seed(0)
    source = 0.1 * torch.randn(num_clips, num_samples, generator=generator, dtype=dtype)
    padding_mask = torch.zeros(num_clips, num_samples, dtype=torch.bool)
    return {
        "id": torch.arange(num_clips),
        "net_input": {"source": source, "padding_mask": padding_mask},
        "nsentences": num_clips,
        "ntokens": num_clips * num_samples,
    }


def train_step(trainer: Trainer, batch: dict[str, Any]) -> None:
    """One whole update: forward, backward, clipping, optimizer, logging."""
    with metrics.aggregate("benchmark"):
        trainer.train_step([batch])
