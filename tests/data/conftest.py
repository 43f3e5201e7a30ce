"""A split as a task loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq.tasks import TASK_DATACLASS_REGISTRY, setup_task
from omegaconf import OmegaConf

from summarymixing_fairseq.data.waveform import SpeechDataset


@pytest.fixture
def load() -> Callable[..., SpeechDataset]:
    """``load(folder, name, split, **fields)``: a split of a folder of manifests, by a task with these fields."""

    def build(folder: Path, name: str = "speech_pretraining", split: str = "train", **fields) -> SpeechDataset:
        fields = {"_name": name, "data": str(folder), "enable_padding": True, "seed": 1, **fields}
        cfg = OmegaConf.merge(OmegaConf.structured(TASK_DATACLASS_REGISTRY[name]), fields)
        task = setup_task(OmegaConf.create({"common": {"tpu": False, "fp16": False, "bf16": False}, "task": cfg}).task)
        task.load_dataset(split)
        return task.dataset(split)

    return build
