"""Measure how `summarymixing manifest folder` scales: time beside the loop of fairseq's script, and memory.

    python examples/benchmarks/manifest_scale.py [--folder DIR] [--files 20000] [--tree 1000000] [--rounds 5]

Prints Markdown tables. Times are valid only on an idle machine: see the load average that is printed first. The folders
of audio, hard links to some files, are made below DIR and removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib.util
import io
import os
import platform
import resource
import runpy
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from summarymixing_fairseq.corpora import folder as folder_corpus
from summarymixing_fairseq.corpora.audio.audio_file import write_flac
from summarymixing_fairseq.corpora.writing.corpus import write_corpus
from summarymixing_fairseq.corpora.writing.options import ManifestOptions, positive_int
from summarymixing_fairseq.system import command, processes
from summarymixing_fairseq.system.files import temporary_folder
from summarymixing_fairseq.system.machine import available_threads, cpu_name
from summarymixing_fairseq.system.tables import markdown_table
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
        write_flac(sources / f"{source}.flac", noise[:num_samples])
    for index in range(num_files):
        number = index // _FILES_PER_FOLDER
        folder = root / f"{number // 100:03}" / f"speaker {number:05}"
        if index % _FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        os.link(sources / f"{index % num_sources}.flac", folder / f"{index:07}-utterance.flac")
    return num_sources


def fairseq_manifest(root: Path, dest: Path, valid_fraction: float = 0.01) -> None:
    """Manifests of a folder by fairseq's own script, which is loaded without the rest of fairseq."""
    package = importlib.util.find_spec("fairseq").submodule_search_locations[0]
    main = runpy.run_path(f"{package}/examples/wav2vec/wav2vec_manifest.py")["main"]
    options = {"ext": "flac", "seed": 42, "path_must_contain": None}
    main(argparse.Namespace(root=root, dest=dest, valid_percent=valid_fraction, **options))


def _manifest(root: Path, workers: int, dest: Path) -> None:
    """Manifests of a folder, as `summarymixing manifest folder` writes them."""
    options = ManifestOptions(dest, workers=workers)
    write_corpus(folder_corpus.prepare(root, options), options)


def measure_speed(folder: Path, num_files: int, num_rounds: int) -> str:
    """The table of times: fairseq's loop, and `prepare` with 1 and with 2 workers, in turn."""
    root, dest = folder / "speed", folder / "out"
    num_sources = make_tree(root, num_files)
    runs: dict[str, Callable[[], object]] = {
        "fairseq's loop": functools.partial(fairseq_manifest, root, dest),
        "summarymixing manifest, 1 worker": functools.partial(_manifest, root, 1, dest),
        "summarymixing manifest, 2 workers": functools.partial(_manifest, root, 2, dest),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + num_rounds):  # the first one warms up imports and the disk's cache
        for name, run in runs.items():
            with contextlib.redirect_stderr(io.StringIO()):
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
            shutil.rmtree(dest)
    shutil.rmtree(root)
    medians, rows = [], []
    for name, (_, *these) in seconds.items():
        median = statistics.median(these)
        medians.append(median)
        rows.append((name, f"{median:.2f}", f"{min(these):.2f} to {max(these):.2f}", f"{num_files / median:,.0f}"))
    loop, one, two = medians
    ratios = [
        ("1 worker : 2 workers", f"{one / two:.2f}", f"{_LEAST_SPEEDUP_BY_WORKERS:g} or more"),
        ("fairseq's loop : 2 workers", f"{loop / two:.2f}", f"{_LEAST_SPEEDUP_OVER_LOOP:g} or more"),
        ("fairseq's loop : 1 worker", f"{loop / one:.2f}", ""),
    ]
    return "\n\n".join(
        [
            f"{num_files:,} flac files (hard links to {num_sources}), {num_rounds} rounds:",
            markdown_table(("run", "seconds (median)", "range", "files a second"), rows),
            markdown_table(("ratio", "measured", "target"), ratios),
        ]
    )


def machine() -> str:
    """Processor, its load, and versions, for the heading of the tables."""
    import soundfile

    return (
        f"{cpu_name()}, {available_threads()} CPUs, load average {os.getloadavg()[0]:.2f}; "
        f"Python {platform.python_version()}, soundfile {soundfile.__version__}, "
        f"libsndfile {soundfile.__libsndfile_version__}"
    )


def measure_tree(folder: Path, num_files: int) -> str:
    """The table of a large tree: time and peak memory of the command. Raises RuntimeError if it fails."""
    root, dest = folder / "tree", folder / "out"
    num_sources = make_tree(root, num_files)
    call = [sys.executable, "-m", "summarymixing_fairseq", "manifest", "folder", str(root), "--dest", str(dest)]
    started = time.perf_counter()
    done = processes.run(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"summarymixing manifest failed with {done.returncode}: {done.stderr[-2000:]}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # of its largest process, in KiB
    head = ("files", "seconds", f"peak memory (target: {_MOST_MEMORY_GIB:g} GiB)")
    rows = [(f"{num_files:,}", f"{seconds:.1f}", f"{peak / 2**20:.2f} GiB")]
    tree = f"{num_files:,} flac files (hard links to {num_sources}), {available_threads()} workers:"
    return f"{tree}\n\n{markdown_table(head, rows)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure how `summarymixing manifest folder` scales.")
    parser.add_argument("--folder", type=Path, help="for the audio (default: the system's temporary folder)")
    parser.add_argument("--files", type=positive_int, default=20_000, help="files of the comparison of times (20000)")
    parser.add_argument("--tree", type=positive_int, default=1_000_000, help="files of the large tree (1000000)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of the comparison of times (5)")
    args = parser.parse_args(argv)
    return command.run_script(lambda: _measure(args))


def _measure(args: argparse.Namespace) -> str:
    with temporary_folder("measure-scale-", args.folder) as folder:
        print(f"{machine()}\n")
        print(measure_speed(folder, args.files, args.rounds), end="\n\n", flush=True)
        return measure_tree(folder, args.tree)


if __name__ == "__main__":
    command.as_script(main)
