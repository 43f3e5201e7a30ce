"""What a run is going to be, as one table in the log before its first update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from ...system.units import SAMPLE_RATE_HZ
from ..contradictions import FROZEN, WARM_UPS

GIB = 2**30


def start_table(trainer: Trainer, epoch_itr: Any, needed: int | None, free: int | None) -> str:
    """Lines of names and values.

    Args:
        epoch_itr: fairseq's, of the run's first epoch here.
        needed, free: bytes that an update takes and bytes that are free, where they are known.
    """
    cfg, task = trainer.cfg, trainer.task
    rows = [("parameters", _parameters(trainer.get_model()))]
    rows += [(split, _audio(task, dataset)) for split, dataset in task.datasets.items()]
    rows += _lengths(trainer, epoch_itr)
    memory = [] if needed is None else [f"{needed / GIB:.1f} GiB an update"]
    memory += [] if free is None else [f"{free / GIB:.1f} GiB free"]
    if memory:
        rows.append(("memory", ", ".join(memory)))
    rows += [("warm-up", _warm_up(cfg)), ("frozen", _frozen(cfg))]
    width = max(len(name) for name, _ in rows)
    return "\n".join(["the run:", *(f"  {name:{width}}  {value}" for name, value in rows)])


def _parameters(model: Any) -> str:
    counts = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    total, trained = sum(count for count, _ in counts), sum(count for count, is_trained in counts if is_trained)
    return f"{total:,}" + ("" if trained == total else f", {trained:,} of them trained")


def _audio(task: Any, dataset: Any) -> str:
    sizes = np.asarray(dataset.sizes)
    hours = float(sizes.sum()) / task.cfg.get("sample_rate", SAMPLE_RATE_HZ) / 3600
    return f"{hours:.3g} h in {len(sizes):,} clips"


def _lengths(trainer: Trainer, epoch_itr: Any) -> Sequence[tuple[str, str]]:
    limits = trainer.cfg.optimization
    update_freq = limits.update_freq[min(epoch_itr.next_epoch_idx, len(limits.update_freq)) - 1]
    an_epoch = max(1, math.ceil(len(epoch_itr) / update_freq))
    rows = [("an epoch", f"{an_epoch:,} updates")]
    if max_tokens := trainer.cfg.dataset.max_tokens:
        seconds = max_tokens * update_freq * trainer.data_parallel_world_size / SAMPLE_RATE_HZ
        rows.append(("an update", f"{seconds:,.0f} s of audio at most"))
    if limits.max_update > 0:
        rows.append(("the run", f"{limits.max_update:,} updates, {limits.max_update / an_epoch:,.1f} epochs"))
    elif limits.max_epoch > 0:
        rows.append(("the run", f"{limits.max_epoch * an_epoch:,} updates, {limits.max_epoch:,} epochs"))
    if done := trainer.get_num_updates():
        rows.append(("goes on", f"after update {done:,}"))
    return rows


def _warm_up(cfg: Any) -> str:
    ratio, max_update = OmegaConf.select(cfg, "lr_scheduler.phase_ratio"), cfg.optimization.max_update
    updates = max(OmegaConf.select(cfg, name) or 0 for name in WARM_UPS)
    if ratio is not None:
        updates = round(ratio[0] * max_update)
    longer = ": longer than the run" if 0 < max_update <= updates else ""
    return f"{updates:,} updates{longer}"


def _frozen(cfg: Any) -> str:
    frozen, max_update = OmegaConf.select(cfg, FROZEN) or 0, cfg.optimization.max_update
    if 0 < max_update <= frozen:
        return f"the pre-trained model, to the end ({FROZEN}={frozen})"
    parts = [f"the pre-trained model for {frozen:,} updates"] if frozen else []
    if OmegaConf.select(cfg, "model.feature_grad_mult") == 0:
        parts.append("the feature extractor, to the end (model.feature_grad_mult=0)")
    return "; ".join(parts) or "nothing"
