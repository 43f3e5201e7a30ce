"""Folders of clips with labels, and our tasks on them, without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from fairseq.tasks import TASK_DATACLASS_REGISTRY, FairseqTask, setup_task
from omegaconf import OmegaConf


def write_split(folder: Path, split: str, lengths: list[int], labels: list[str] | None = None) -> None:
    """Clips of noise of these numbers of samples, with their manifest, their .ltr where given, and a dictionary."""
    noise = np.random.default_rng(1)
    for number, length in enumerate(lengths):
        soundfile.write(folder / f"{number}_{split}.wav", noise.uniform(-0.1, 0.1, length), 16_000)
    rows = "".join(f"{number}_{split}.wav\t{length}\n" for number, length in enumerate(lengths))
    (folder / f"{split}.tsv").write_text(f"{folder}\n{rows}")
    if labels is not None:
        (folder / f"{split}.ltr").write_text("".join(f"{line}\n" for line in labels))
        (folder / "dict.ltr.txt").write_text("A 1\nB 1\n| 1\n")


def task_on(folder: Path, name: str = "speech_finetuning", groups: dict[str, Any] | None = None, **fields: Any) -> Any:
    """A task with these fields, as fairseq sets it up; groups: of the configuration around it."""
    fields = {"_name": name, "data": str(folder), "enable_padding": True, "seed": 1, **fields}
    if name == "speech_finetuning":
        fields.setdefault("labels", "ltr")
    cfg = OmegaConf.merge(OmegaConf.structured(TASK_DATACLASS_REGISTRY[name]), fields)
    common = {"tpu": False, "fp16": False, "bf16": False, "amp": False}
    task: FairseqTask = setup_task(OmegaConf.create({"common": common, **(groups or {}), "task": cfg}).task)
    return task
