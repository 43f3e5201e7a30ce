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
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
        write_flac(sources / f"{source}.flac", noise[:num_samples], SAMPLE_RATE_HZ)
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
    """The table of a large tree: time and peak memory of an undisturbed run, and of one that resumes after a kill.

    Raises:
        RuntimeError: if the resumed run writes other files than the undisturbed one, or reads a known file again.
    """
    root, whole, killed = folder / "tree", folder / "whole", folder / "killed"
    num_sources = make_tree(root, num_files)
    _, undisturbed = _run(root, whole)
    if _start(root, killed, die_after=num_files // 2).returncode != -signal.SIGKILL:
        raise RuntimeError("the run was over before it could be killed")
    # the first line says what is scanned; the last one may be cut
    num_kept = (killed / scan.JOURNAL_NAME).read_bytes().count(b"\n") - 1
    num_read, resumed = _run(root, killed)
    contents = [{path.name: path.read_bytes() for path in dest.iterdir()} for dest in (whole, killed)]
    if contents[0] != contents[1]:
        raise RuntimeError("the resumed run wrote other files than the undisturbed one")
    if num_read != num_files - num_kept:
        raise RuntimeError(f"{num_kept} of {num_files} files were known, and {num_read} read once more")
    for used in (root, whole, killed):
        shutil.rmtree(used)
    head = ("run", "files read", "seconds", f"peak memory of the main process (target: {_MOST_MEMORY_GIB:g} GiB)")
    rows = [
        ("undisturbed", *undisturbed),
        ("again, after a run that was killed when it had read half: same bytes", *resumed),
    ]
    tree = f"{num_files:,} flac files (hard links to {num_sources}), {available_threads()} workers:"
    return f"{tree}\n\n{markdown_table(head, rows)}"


def _run(root: Path, dest: Path) -> tuple[int, list[str]]:
    """Files read by a run of the command that came to its end, and its cells of the table."""
    started = time.perf_counter()
    done = _start(root, dest)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"summarymixing manifest failed with {done.returncode}: {done.stderr[-2000:]}")
    num_read, peak_kib = map(int, done.stdout.splitlines()[-1].split())
    return num_read, [f"{num_read:,}", f"{seconds:.1f}", f"{peak_kib / 2**20:.2f} GiB"]


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
