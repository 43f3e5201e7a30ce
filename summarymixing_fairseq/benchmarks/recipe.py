"""A pre-training recipe (YAML) as fairseq's trainer takes it, without data."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq import metrics, tasks
from fairseq.dataclass.initialize import add_defaults, hydra_init
from fairseq.trainer import Trainer
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

try:
    from hydra import compose, initialize_config_dir
except ImportError:  # hydra 1.0, which fairseq 0.12.2 needs; the signatures differ in what is not used here
    from hydra.experimental import compose, initialize_config_dir  # type: ignore[assignment]


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> DictConfig:
    """Configuration of a recipe as ``fairseq-hydra-train`` composes it.

    Args:
        path: a YAML as in ``examples/pretraining``; overrides: ``group.field=value`` each, of new fields too, for which
            hydra's plus may be there.
    """
    changed = OmegaConf.from_dotlist([override.lstrip("+") for override in overrides])
    cfg: Any = OmegaConf.merge(OmegaConf.create(_composed(path.resolve())), changed)
    add_defaults(cfg)
    return cfg


@functools.cache
def _composed(path: Path) -> Any:
    """A recipe with fairseq's schema, read once: hydra takes longer to compose it than a small model to be built."""
    hydra_init(path.stem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hydra's, of what fairseq's command needs
        with initialize_config_dir(str(path.parent)):
            recipe = OmegaConf.to_container(compose(path.stem), enum_to_str=True)
    # fairseq's schema bears this recipe's name: it must not count as the schema of a recipe that is made from it
    del ConfigStore.instance().repo[f"{path.stem}.yaml"]
    return recipe


def precision_overrides(precision: str, device: str) -> list[str]:
    """Overrides for training in one of ``benchmark.PRECISIONS`` on one device, "cpu" or "cuda"."""
    return [f"common.{name}={str(name == precision).lower()}" for name in ("amp", "fp16", "bf16")] + [
        f"common.cpu={str(device == 'cpu').lower()}",
        "distributed_training.distributed_world_size=1",
    ]


def build_trainer(cfg: DictConfig) -> Trainer:
    """fairseq's trainer of a recipe: model, criterion and optimizer."""
    task = tasks.setup_task(cfg.task, from_checkpoint=True)  # this way it needs no data
    torch.manual_seed(cfg.common.seed)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


def noise_batch(num_clips: int, num_samples: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """A batch as the task collates it: clips of equal length, of noise (no time depends on the content)."""
    generator = torch.Generator().manual_seed(0)
    source = 0.1 * torch.randn(num_clips, num_samples, generator=generator, dtype=dtype)
    padding_mask = torch.zeros(num_clips, num_samples, dtype=torch.bool)
    return {
        "id": torch.arange(num_clips),
        "net_input": {"source": source, "padding_mask": padding_mask},
        "num_samples": [num_samples] * num_clips,
        "nsentences": num_clips,
        "ntokens": num_clips * num_samples,
    }


def train_step(trainer: Trainer, batch: dict[str, Any]) -> None:
    """One whole update: forward, backward, clipping, optimizer, logging."""
    with metrics.aggregate("benchmark"):
        trainer.train_step([batch])
