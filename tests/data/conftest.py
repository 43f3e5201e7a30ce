"""Spoken clips with their manifest, and a split as a task loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from fairseq.tasks import TASK_DATACLASS_REGISTRY, FairseqTask, setup_task
from omegaconf import OmegaConf

from summarymixing_fairseq.data.waveform import SpeechDataset


@pytest.fixture
def rows(speech: list[np.ndarray]) -> list[tuple[str, int]]:
    """Name and length of each clip of ``clips``."""
    return [(f"{number}.flac", len(wave)) for number, wave in enumerate(speech)]


@pytest.fixture
def clips(tmp_path: Path, speech: list[np.ndarray], rows: list[tuple[str, int]]) -> Path:
    """Folder of four flac files and their manifest, train.tsv."""
    for (name, _), wave in zip(rows, speech):
        soundfile.write(tmp_path / name, wave, 16_000)
    lines = "".join(f"{name}\t{size}\n" for name, size in rows)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n{lines}")
    return tmp_path


@pytest.fixture
def load_task() -> Callable[..., FairseqTask]:
    """``load_task(folder, name, split, **fields)``: a task with these fields that has loaded a split of a folder."""

    def build(folder: Path, name: str = "speech_pretraining", split: str = "train", **fields) -> FairseqTask:
        fields = {"_name": name, "data": str(folder), "enable_padding": True, "seed": 1, **fields}
        cfg = OmegaConf.merge(OmegaConf.structured(TASK_DATACLASS_REGISTRY[name]), fields)
        task = setup_task(OmegaConf.create({"common": {"tpu": False, "fp16": False, "bf16": False}, "task": cfg}).task)
        task.load_dataset(split)
        return task

    return build


@pytest.fixture
def load(load_task: Callable[..., FairseqTask]) -> Callable[..., SpeechDataset]:
    """As ``load_task``, but the split itself."""
    return lambda folder, name="speech_pretraining", split="train", **fields: load_task(
        folder, name, split, **fields
    ).dataset(split)
