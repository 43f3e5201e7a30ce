"""fairseq's trainer of a tiny pre-training, in this process and without data."""

from __future__ import annotations

from pathlib import Path

import torch
from fairseq.trainer import Trainer
from pipeline import ROOT, TINY_MODEL

from summarymixing_fairseq.benchmarks.recipe import build_trainer, noise_batch, read_recipe

NOISE = noise_batch(2, 24_000, torch.float64)


def trainer_of(save_dir: Path, *overrides: str) -> Trainer:
    """Built of the quickstart's recipe."""
    given = [*TINY_MODEL, "common.cpu=true", "distributed_training.distributed_world_size=1", "task.data=x"]
    given += [f"checkpoint.save_dir={save_dir}", *overrides]
    return build_trainer(read_recipe(ROOT / "examples/pretraining/quickstart_contrastive.yaml", given))


def save(trainer: Trainer, path: Path) -> str:
    """Save a checkpoint at the first batch of an epoch; its path as text."""
    trainer.consolidate_optimizer()
    at = {"version": 2, "epoch": 1, "iterations_in_epoch": 1, "shuffle": True}
    trainer.save_checkpoint(str(path), {"train_iterator": at})
    return str(path)
