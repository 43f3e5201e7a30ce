"""Loading a manifest of millions of rows for training, and what data workers add to its memory."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .folder import temporary_folder
from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "loading a manifest of millions of rows"
REFERENCE = "speech_pretraining"
SIZE_UNIT = "rows"
KEEP_FREED_MEMORY = False
HOLD = False  # each has a process and so a peak of its own
WITH_WORKERS = ", workers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Rows and workers."""
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000], help="of the manifest")
    parser.add_argument("--workers", type=int, default=8, help="data workers")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {"workers": args.workers}


def sizes(args: argparse.Namespace) -> list[int]:
    """Rows."""
    return args.rows


def contenders(settings: dict[str, Any]) -> list[str]:
    """Our dataset and fairseq's, each alone and with data workers that have gone through all rows between them."""
    return [name + workers for workers in ("", WITH_WORKERS) for name in (REFERENCE, "audio_pretraining")]


def write_manifest(folder: Path, num_rows: int) -> Path:
    """A manifest with paths as long as Libri-Light's, of no audio."""
    path = folder / "train.tsv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("/data/librilight\n")
        for i in range(num_rows):
            file.write(
                f"large/{i % 7000}/book_title_{i % 90000}_64kb_mp3/chapter_{i:08}.flac\t{160_000 + i % 320_000}\n"
            )
    return path


def load(contender: str, path: Path) -> Any:
    """The dataset that a task would load, and the order of an epoch."""
    if contender.startswith(REFERENCE):
        from ..data.manifest import Manifest
        from ..data.segments import SegmentDataset

        dataset = SegmentDataset(Manifest(path), 16_000, pad=True)
    else:
        from fairseq.data.audio.raw_audio_dataset import FileAudioDataset

        dataset = FileAudioDataset(path, 16_000, pad=True)
    dataset.ordered_indices()
    return dataset


def _go_through(dataset: Any, start: int, step: int, done: Any, leave: Any) -> None:
    """Ask for names as ``__getitem__`` does, report this process's own memory, and stay until told to leave."""
    names = dataset.fnames
    for index in range(start, len(dataset), step):
        names[index]
    own_bytes = 0
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Private_"):
                own_bytes += int(line.split()[1]) * 1024
    done.put(own_bytes)
    leave.wait()


def _workers_bytes(dataset: Any, num_workers: int) -> int:
    """Memory that forked workers do not share with this process, summed, while all of them live."""
    context = multiprocessing.get_context("fork")
    done, leave = context.SimpleQueue(), context.Event()
    workers = [
        context.Process(target=_go_through, args=(dataset, start, num_workers, done, leave), daemon=True)
        for start in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    total = sum(done.get() for _ in workers)
    leave.set()
    for worker in workers:
        worker.join()
    return total


def build(contender: str, size: int, settings: dict[str, Any], device: torch.device) -> Step:
    """Load the dataset and order an epoch; with workers, let them read every row's path too."""
    folder = temporary_folder()
    path = write_manifest(Path(folder), size)
    small = write_manifest(Path(tempfile.mkdtemp(dir=folder)), 1000)
    children = {"bytes": 0}

    def run() -> None:
        dataset = load(contender, path)
        if contender.endswith(WITH_WORKERS):
            children["bytes"] = _workers_bytes(dataset, settings["workers"])

    return Step(run, warm_up=lambda: load(contender, small), other_bytes=lambda: children["bytes"])
