"""Batches from flac files through data workers, against fairseq's dataset."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .folder import temporary_folder
from .options import SAMPLE_RATE_HZ
from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "reading and batching flac files"
REFERENCE = "speech_pretraining"
SIZE_UNIT = "clips"
KEEP_FREED_MEMORY = True
HOLD = True
# Lengths of the clips, in turn, as the paper cuts its corpus: 10 to 30 s.
CLIP_SECONDS = (10, 14, 18, 22, 26, 30)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Clips, workers, batches."""
    parser.add_argument("--clips", type=int, nargs="+", default=[120], help="flac files of 10 to 30 s")
    parser.add_argument("--workers", type=int, default=2, help="data workers")
    parser.add_argument("--batch-seconds", type=int, default=120, help="audio of a batch, padding included")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {"workers": args.workers, "batch_seconds": args.batch_seconds}


def sizes(args: argparse.Namespace) -> list[int]:
    """Clips."""
    return args.clips


def contenders(settings: dict[str, Any]) -> list[str]:
    """Our task and fairseq's, whose datasets they are."""
    return [REFERENCE, "audio_pretraining"]


def write_corpus(folder: Path, num_clips: int) -> None:
    """Flac files of noise, which is the dearest to decode, and their manifest ``train.tsv``."""
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


def build(contender: str, size: int, settings: dict[str, Any], device: torch.device) -> Step:
    """One epoch: every batch read, decoded and collated."""
    from fairseq import tasks
    from fairseq.tasks import TASK_DATACLASS_REGISTRY
    from omegaconf import OmegaConf

    folder = temporary_folder()
    write_corpus(Path(folder), size)
    fields = {"_name": contender, "data": folder, "enable_padding": True, "max_sample_size": 30 * SAMPLE_RATE_HZ}
    cfg = OmegaConf.merge(OmegaConf.structured(TASK_DATACLASS_REGISTRY[contender]), fields)
    task = tasks.setup_task(
        OmegaConf.create({"common": {"tpu": False, "fp16": False, "bf16": False}, "task": cfg}).task
    )
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
            raise RuntimeError(f"{num_clips} of {size} clips came back")

    return Step(epoch)
