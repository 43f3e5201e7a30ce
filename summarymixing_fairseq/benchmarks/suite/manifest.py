"""Loading a manifest of millions of rows for training, and the memory that data workers add."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ...system.units import SAMPLE_RATE_HZ
from ..benchmark import Benchmark, Step, add_sizes

REFERENCE = "speech_pretraining"
WITH_WORKERS = ", workers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add rows and workers."""
    add_sizes(parser, "--rows", int, [10_000_000], "of the manifest")
    parser.add_argument("--workers", type=int, default=8, help="data workers")


def contenders() -> list[str]:
    """Our dataset and fairseq's, each alone and with data workers. Together the workers have read all rows."""
    return [name + workers for workers in ("", WITH_WORKERS) for name in (REFERENCE, "audio_pretraining")]


def write_manifest(num_rows: int) -> Path:
    """Write a manifest with paths as long as Libri-Light's; there is no audio."""
    path = Path(tempfile.mkdtemp()) / "train.tsv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("/data/librilight\n")
        for i in range(num_rows):
            file.write(
                f"large/{i % 7000}/book_title_{i % 90000}_64kb_mp3/chapter_{i:08}.flac\t{160_000 + i % 320_000}\n"
            )
    return path


def load(contender: str, path: Path) -> Any:
    """The dataset that a task would load, and the order of an epoch."""
    dataset: Any
    if contender.startswith(REFERENCE):
        from ...data.manifest import Manifest
        from ...data.segments import SegmentDataset

        dataset = SegmentDataset(Manifest(path), SAMPLE_RATE_HZ, pad=True)
    else:
        from fairseq.data.audio.raw_audio_dataset import FileAudioDataset

        dataset = FileAudioDataset(path, SAMPLE_RATE_HZ, pad=True)
    dataset.ordered_indices()
    return dataset


def _read_rows(dataset: Any, start: int, step: int, done: Any, leave: Any) -> None:
    """Read names as ``__getitem__`` does, report this process's private memory, and stay until told to leave."""
    names = dataset.fnames
    for index in range(start, len(dataset), step):
        names[index]
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        done.put(1024 * sum(int(line.split()[1]) for line in file if line.startswith("Private_")))
    leave.wait()


def _workers_bytes(dataset: Any, num_workers: int) -> int:
    """Total memory that forked workers do not share with this process, while all of them are alive."""
    import multiprocessing  # imported here: it slows the start of every command

    context = multiprocessing.get_context("fork")
    done, leave = context.SimpleQueue(), context.Event()
    workers = [
        context.Process(target=_read_rows, args=(dataset, start, num_workers, done, leave), daemon=True)
        for start in range(num_workers)
    ]
    for worker in workers:
        worker.start()
    total: int = sum(done.get() for _ in workers)
    leave.set()
    for worker in workers:
        worker.join()
    return total


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """Load the dataset and order an epoch; with workers, also read every row's path in them."""
    path, small = write_manifest(int(size)), write_manifest(1000)
    workers_bytes = 0

    def run() -> None:
        nonlocal workers_bytes
        dataset = load(contender, path)
        if contender.endswith(WITH_WORKERS):
            workers_bytes = _workers_bytes(dataset, settings["workers"])

    return Step(run, warm_up=lambda: load(contender, small), other_bytes=lambda: workers_bytes)


HELP = "loading a manifest of millions of rows"
BENCHMARK = Benchmark(HELP, REFERENCE, "rows", add_arguments, contenders, build, hold=False, keep_freed_memory=False)
