"""Batches from flac files through data workers, compared with fairseq's dataset."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ...system.units import SAMPLE_RATE_HZ
from ..benchmark import Benchmark, Step, add_sizes

REFERENCE = "speech_pretraining"
# Lengths of the clips, in turn: the paper cuts its corpus to 10 to 30 s.
CLIP_SECONDS = (10, 14, 18, 22, 26, 30)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add clips, workers and batches."""
    add_sizes(parser, "--clips", int, [120], "flac files of 10 to 30 s")
    parser.add_argument("--workers", type=int, default=2, help="data workers")
    parser.add_argument("--batch-seconds", type=int, default=120, help="audio of a batch, padding included")


def contenders() -> list[str]:
    """Our task and fairseq's."""
    return [REFERENCE, "audio_pretraining"]


def write_corpus(folder: Path, num_clips: int) -> None:
    """Write flac files of noise, which takes flac longest to decode, and their manifest ``train.tsv``."""
    import numpy as np
    import soundfile

    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(max(CLIP_SECONDS) * SAMPLE_RATE_HZ)
    rows = [str(folder)]
    for i in range(num_clips):
        num_samples = CLIP_SECONDS[i % len(CLIP_SECONDS)] * SAMPLE_RATE_HZ
        soundfile.write(folder / f"{i}.flac", noise[:num_samples], SAMPLE_RATE_HZ)
        rows.append(f"{i}.flac\t{num_samples}")
    (folder / "train.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """One epoch: every batch read, decoded and collated."""
    from fairseq import tasks
    from fairseq.tasks import TASK_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    folder = tempfile.mkdtemp()
    write_corpus(Path(folder), int(size))
    fields = {"_name": contender, "data": folder, "enable_padding": True, "max_sample_size": 30 * SAMPLE_RATE_HZ}
    cfg = OmegaConf.merge(OmegaConf.structured(TASK_DATACLASS_REGISTRY[contender]), fields)
    # the task's fields refer to these by interpolation
    common = {"tpu": False, "fp16": False, "bf16": False}
    task = tasks.setup_task(OmegaConf.create({"common": common, "task": cfg}).task)
    task.load_dataset("train")
    iterator = task.get_batch_iterator(
        task.dataset("train"),
        max_tokens=settings["batch_seconds"] * SAMPLE_RATE_HZ,
        max_positions=None,
        required_batch_size_multiple=1,
        seed=1,
        num_workers=settings["workers"],
    )

    def epoch() -> None:
        num_clips = sum(len(batch["id"]) for batch in iterator.next_epoch_itr(shuffle=True))
        if num_clips != size:
            raise RuntimeError(f"{num_clips} of {size} clips were read")

    return Step(epoch)


BENCHMARK = Benchmark("reading and batching flac files", REFERENCE, "clips", add_arguments, contenders, build)
