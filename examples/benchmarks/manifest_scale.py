"""Measure how `summarymixing manifest folder` scales: time beside the loop of fairseq's script, and memory.

    python examples/benchmarks/manifest_scale.py [--folder DIR] [--files 20000] [--tree 1000000] [--rounds 5]

Prints Markdown tables. Times are valid only on an idle machine: see the load average that is printed first. The folders
of audio, hard links to some files, are made below DIR and removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import glob
import io
import os
import platform
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from summarymixing_fairseq.commands.main import main as summarymixing
from summarymixing_fairseq.corpora import folder as folder_corpus
from summarymixing_fairseq.corpora.audio import scan
from summarymixing_fairseq.corpora.audio.audio_file import write_flac
from summarymixing_fairseq.corpora.writing.corpus import write_corpus
from summarymixing_fairseq.corpora.writing.options import ManifestOptions, positive_int
from summarymixing_fairseq.system import command, processes
from summarymixing_fairseq.system.files import temporary_folder
from summarymixing_fairseq.system.machine import available_threads
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

# Targets, printed beside the medians.
_LEAST_SPEEDUP_BY_WORKERS = 1.6
_LEAST_SPEEDUP_OVER_LOOP = 2.0
_MOST_MEMORY_GIB = 1.0

# On ext4 a file may have 65,000 names.
_MOST_LINKS = 50_000
_FILES_PER_FOLDER = 500
_FEWEST_SOURCES = 16


def make_tree(root: Path, num_files: int) -> int:
    """Fill `root` with hard links to flac files of 1 to 5 s, and return how many files there really are.

    They hold noise: a scan reads headers and not what is heard.
    """
    num_sources = max(_FEWEST_SOURCES, -(-num_files // _MOST_LINKS))
    noise = np.random.default_rng(0).normal(scale=0.1, size=5 * SAMPLE_RATE_HZ)
    sources = root / ".sources"
    sources.mkdir(parents=True)
    for source in range(num_sources):
        num_samples = SAMPLE_RATE_HZ + 4 * SAMPLE_RATE_HZ * source // num_sources
        write_flac(sources / f"{source}.flac", noise[:num_samples], SAMPLE_RATE_HZ)
    for index in range(num_files):
        number = index // _FILES_PER_FOLDER
        folder = root / f"{number // 100:03}" / f"speaker {number:05}"
        if index % _FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        os.link(sources / f"{index % num_sources}.flac", folder / f"{index:07}-utterance.flac")
    return num_sources


def fairseq_loop(root: Path, dest: Path, valid_fraction: float = 0.01) -> None:
    """Do for each file what fairseq's wav2vec_manifest.py does: glob, real path, header, random split, one row."""
    import soundfile

    draw = random.Random(42)
    absolute = os.path.realpath(root)
    dest.mkdir(parents=True, exist_ok=True)
    with open(dest / "train.tsv", "w") as train, open(dest / "valid.tsv", "w") as valid:
        for manifest in (train, valid):
            print(absolute, file=manifest)
        for path in glob.iglob(os.path.join(absolute, "**", "*.flac"), recursive=True):
            real = os.path.realpath(path)
            num_samples = soundfile.info(path).frames
            manifest = train if draw.random() > valid_fraction else valid
            print(f"{os.path.relpath(real, absolute)}\t{num_samples}", file=manifest)


def _manifest(root: Path, workers: int, dest: Path) -> None:
    """Manifests of a folder, as `summarymixing manifest folder` writes them."""
    options = ManifestOptions(dest, workers=workers)
    write_corpus(folder_corpus.prepare(root, options), options)


def measure_speed(folder: Path, num_files: int, num_rounds: int) -> str:
    """The table of times: fairseq's loop, and `prepare` with 1 and with 2 workers, in turn."""
    root = folder / "speed"
    num_sources = make_tree(root, num_files)

    runs: dict[str, Callable[[Path], object]] = {
        "fairseq's loop": functools.partial(fairseq_loop, root),
        "summarymixing manifest, 1 worker": functools.partial(_manifest, root, 1),
        "summarymixing manifest, 2 workers": functools.partial(_manifest, root, 2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(-1, num_rounds):  # the first one warms up imports and the disk's cache
        for name, run in runs.items():
            dest = folder / "out"
            with contextlib.redirect_stderr(io.StringIO()):
                started = time.perf_counter()
                run(dest)
                taken = time.perf_counter() - started
            shutil.rmtree(dest)
            if round_number >= 0:
                seconds[name].append(taken)
    shutil.rmtree(root)
    loop, one, two = (statistics.median(seconds[name]) for name in runs)
    rows = [
        f"| {name} | {statistics.median(these):.2f} | {min(these):.2f} to {max(these):.2f} "
        f"| {num_files / statistics.median(these):,.0f} |"
        for name, these in seconds.items()
    ]
    return "\n".join(
        [
            f"{num_files:,} flac files (hard links to {num_sources}), {num_rounds} rounds:",
            "",
            "| run | seconds (median) | range | files a second |",
            "|---|---|---|---|",
            *rows,
            "",
            "| ratio | measured | target |",
            "|---|---|---|",
            f"| 1 worker : 2 workers | {one / two:.2f} | {_LEAST_SPEEDUP_BY_WORKERS:g} or more |",
            f"| fairseq's loop : 2 workers | {loop / two:.2f} | {_LEAST_SPEEDUP_OVER_LOOP:g} or more |",
            f"| fairseq's loop : 1 worker | {loop / one:.2f} | |",
        ]
    )


def machine() -> str:
    """Processor, its load, and versions, for the heading of the tables."""
    import soundfile

    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux alone has this file
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((line.split(": ")[1] for line in lines if line.startswith("model name")), processor)
    return (
        f"{processor}, {available_threads()} CPUs, load average {os.getloadavg()[0]:.2f}; "
        f"Python {platform.python_version()}, soundfile {soundfile.__version__}, "
        f"libsndfile {soundfile.__libsndfile_version__}"
    )


def measure_tree(folder: Path, num_files: int) -> str:
    """The table of a large tree: time and peak memory of an undisturbed run, and of one that resumes after a kill.

    Raises:
        RuntimeError: if the resumed run writes other files than the undisturbed one, or reads a known file again.
    """
    root = folder / "tree"
    num_sources = make_tree(root, num_files)
    undisturbed = _run(root, folder / "whole")
    if _start(root, folder / "killed", die_after=num_files // 2).returncode != -signal.SIGKILL:
        raise RuntimeError("the run was over before it could be killed")
    num_kept = _lines(folder / "killed" / scan.JOURNAL_NAME) - 1  # the first line says what is scanned
    resumed = _run(root, folder / "killed")
    if _contents(folder / "whole") != _contents(folder / "killed"):
        raise RuntimeError("the resumed run wrote other files than the undisturbed one")
    if resumed.num_read != num_files - num_kept:
        raise RuntimeError(f"{num_kept} of {num_files} files were known, and {resumed.num_read} read once more")
    for used in (root, folder / "whole", folder / "killed"):
        shutil.rmtree(used)
    return "\n".join(
        [
            f"{num_files:,} flac files (hard links to {num_sources}), {available_threads()} workers:",
            "",
            f"| run | files read | seconds | peak memory of the main process (target: {_MOST_MEMORY_GIB:g} GiB) |",
            "|---|---|---|---|",
            f"| undisturbed | {undisturbed} |",
            f"| again, after a run that was killed when it had read half: same bytes | {resumed} |",
        ]
    )


@dataclass(frozen=True)
class _Run:
    """Figures of one run of the command that came to its end."""

    num_read: int
    seconds: float
    peak_gib: float

    def __str__(self) -> str:
        return f"{self.num_read:,} | {self.seconds:.1f} | {self.peak_gib:.2f} GiB"


def _run(root: Path, dest: Path) -> _Run:
    started = time.perf_counter()
    done = _start(root, dest)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"summarymixing manifest failed with {done.returncode}: {done.stderr[-2000:]}")
    num_read, peak_kib = done.stdout.splitlines()[-1].split()
    return _Run(int(num_read), seconds, int(peak_kib) / 2**20)


def _start(root: Path, dest: Path, die_after: int = -1) -> subprocess.CompletedProcess[str]:
    """Run `counted_run` in a process of its own, so that only its own memory counts."""
    command = [sys.executable, __file__, "--counted-run", str(root), str(dest), str(die_after)]
    return processes.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def counted_run(root: str, dest: str, die_after: str) -> int:
    """Run the command here and print files read and peak memory in KiB; kill this process after `die_after` files."""
    num_read = 0
    parallel_iter = scan.parallel_iter

    def counted(*args: Any, **options: Any) -> Iterator[Any]:
        nonlocal num_read
        for entry in parallel_iter(*args, **options):
            if num_read == int(die_after):
                os.kill(os.getpid(), signal.SIGKILL)
            num_read += 1
            yield entry

    scan.parallel_iter = counted
    status = summarymixing(["manifest", "folder", root, "--dest", dest])
    print(num_read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return status


def _lines(path: Path) -> int:
    with open(path, "rb") as lines:
        return sum(line.endswith(b"\n") for line in lines)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure how `summarymixing manifest folder` scales.")
    parser.add_argument("--folder", type=Path, help="for the audio (default: the system's temporary folder)")
    parser.add_argument("--files", type=positive_int, default=20_000, help="files of the comparison of times (20000)")
    parser.add_argument("--tree", type=positive_int, default=1_000_000, help="files of the large tree (1000000)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of the comparison of times (5)")
    parser.add_argument("--counted-run", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.counted_run:
        return counted_run(*args.counted_run)
    return command.run_script(lambda: _measure(args))


def _measure(args: argparse.Namespace) -> str:
    with temporary_folder("measure-scale-", args.folder) as folder:
        print(f"{machine()}\n")
        print(measure_speed(folder, args.files, args.rounds), end="\n\n", flush=True)
        return measure_tree(folder, args.tree)


if __name__ == "__main__":
    command.as_script(main)
