"""Settings of a run that undo one another, found before it begins."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

# Updates before the learning rate is at its peak, by fairseq's names in different schedules.
WARM_UPS = ("lr_scheduler.warmup_updates", "lr_scheduler.warmup_steps")
FROZEN = "model.freeze_finetune_updates"
DECAY_END = "lr_scheduler.total_num_update"


def contradictions(config: Any) -> list[str]:
    """A line for each setting that does not go with another; config: fairseq's, whole.

    Empty for a task's configuration alone.
    """
    lines = []
    if OmegaConf.select(config, "dataset.grouped_shuffling"):
        lines.append("dataset.grouped_shuffling=true: several GPUs leave out the last batches of each epoch")
    max_update = _number(config, "optimization.max_update")
    if max_update <= 0:
        return lines
    limit = f"of optimization.max_update={max_update:g}"
    if (frozen := _number(config, FROZEN)) >= max_update:
        lines.append(f"{FROZEN}={frozen:g} {limit}: the pre-trained model is never trained, its output layer alone is")
    # a schedule in shares of the run has no other steps
    in_shares = OmegaConf.select(config, "lr_scheduler.phase_ratio") is not None
    for name in WARM_UPS:
        if (warm_up := _number(config, name)) >= max_update and not in_shares:
            lines.append(f"{name}={warm_up:g} {limit}: the learning rate never reaches optimization.lr")
    if 0 < (end := _number(config, DECAY_END)) < max_update:
        lines.append(f"{DECAY_END}={end:g} {limit}: the learning rate is at its end from there on")
    return lines


def _number(config: Any, name: str) -> float:
    """A field's value, 0 where there is none."""
    value = OmegaConf.select(config, name)
    return float(value) if isinstance(value, (int, float)) else 0.0
