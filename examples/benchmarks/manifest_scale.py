"""Measure how make_manifest.py scales: seconds beside the loop of fairseq's script, and memory at a million files.

python examples/benchmarks/manifest_scale.py [--folder DIR] [--files 20000] [--tree 1000000] [--rounds 5]

Prints Markdown tables. Times count only on an idle machine: the share of its CPUs that other programs took stands
beside them (Linux). The trees, hard links to some hundred spoken clips (needs the `quickstart` extra for
espeak-ng), are made below DIR and removed at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import glob
import io
import math
import os
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.corpora.audio.scan import JOURNAL_NAME
from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.system import command, interrupts, processes
from summarymixing_fairseq.system.machine import available_threads

# Targets, checked against the medians and printed beside them.
_LEAST_SPEEDUP_BY_WORKERS = 1.6
_LEAST_SPEEDUP_OVER_LOOP = 2.0
_MOST_MEMORY_GIB = 1.0

# ext4 allows a file 65,000 names.
_MOST_LINKS = 50_000
_FILES_PER_FOLDER = 500
_FEWEST_SOURCES = 16


def make_tree(root: Path, num_files: int) -> int:
    """Fill `root` with hard links to spoken flac files of 1 to 5 s; the number of files that they are links to."""
    import numpy as np
    from synthesiser import speak

    from summarymixing_fairseq.corpora.audio.flac_file import write_flac

    num_sources = max(_FEWEST_SOURCES, -(-num_files // _MOST_LINKS))
    speech = np.tile(speak("Nothing that was found is lost in silence, whatever its name or its length."), 3)
    sources = root / ".sources"
    sources.mkdir(parents=True)
    for source in range(num_sources):
        num_samples = 16000 + (64000 * source) // num_sources
        write_flac(sources / f"{source}.flac", speech[-num_samples:], 16000)
    for start in range(0, num_files, _FILES_PER_FOLDER):
        folder = root / f"{start // (100 * _FILES_PER_FOLDER):03}" / f"speaker {start // _FILES_PER_FOLDER:05}"
        folder.mkdir(parents=True)
        for index in range(start, min(start + _FILES_PER_FOLDER, num_files)):
            os.link(sources / f"{index % num_sources}.flac", folder / f"{index:07}-utterance.flac")
    return num_sources


def fairseq_loop(root: Path, dest: Path, valid_fraction: float = 0.01) -> None:
    """What fairseq's wav2vec_manifest.py does for each file: glob, real path, header, drawn split, one printed row."""
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


def measure_speed(folder: Path, num_files: int, num_rounds: int) -> str:
    """The table of seconds: the loop and the whole of `prepare` by 1 and by 2 workers, in turn."""
    from summarymixing_fairseq.corpora.folder import prepare

    root = folder / "speed"
    num_sources = make_tree(root, num_files)

    def ours(workers: int) -> Callable[[Path], object]:
        return lambda dest: prepare(root, dest, workers=workers)

    runs: dict[str, Callable[[Path], object]] = {
        "fairseq's loop": lambda dest: fairseq_loop(root, dest),
        "make_manifest.py, 1 worker": ours(1),
        "make_manifest.py, 2 workers": ours(2),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    others: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(-1, num_rounds):  # the first warms up: imports, the disk's cache
        for name, run in runs.items():
            dest = folder / "out"
            with contextlib.redirect_stderr(io.StringIO()):
                cpu_before, started = _cpu_seconds_of_others(), time.perf_counter()
                run(dest)
                taken = time.perf_counter() - started
                cpu_taken = _cpu_seconds_of_others() - cpu_before
            shutil.rmtree(dest)
            if round_number >= 0:
                seconds[name].append(taken)
                others[name].append(cpu_taken / taken / available_threads())
    shutil.rmtree(root)
    loop, one, two = (statistics.median(seconds[name]) for name in runs)
    rows = [
        f"| {name} | {statistics.median(these):.2f} | {min(these):.2f} to {max(these):.2f} "
        f"| {num_files / statistics.median(these):,.0f} | {max(statistics.median(others[name]), 0.0):.0%} |"
        for name, these in seconds.items()
    ]
    return "\n".join(
        [
            f"{num_files:,} flac files (hard links to {num_sources}), {num_rounds} rounds:",
            "",
            "| run | seconds (median) | range | files a second | CPUs taken by others |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "| ratio | measured | target |",
            "|---|---|---|",
            f"| 1 worker : 2 workers | {one / two:.2f} | {_LEAST_SPEEDUP_BY_WORKERS:g} or more |",
            f"| fairseq's loop : 2 workers | {loop / two:.2f} | {_LEAST_SPEEDUP_OVER_LOOP:g} or more |",
            f"| fairseq's loop : 1 worker | {loop / one:.2f} | |",
        ]
    )


def _cpu_seconds_of_others() -> float:
    """Processor time, since the start, of all programs but this one and its children; nan where it is not told."""
    try:
        times = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except FileNotFoundError:
        return math.nan
    idle = times[3] + times[4]
    return (sum(times) - idle) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def machine() -> str:
    """Processor and versions, for the heading of the tables."""
    import soundfile

    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text() + f"model name: {model}")[1]
    return (
        f"{model}, {available_threads()} CPUs; Python {platform.python_version()}, "
        f"soundfile {soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
    )


def measure_tree(folder: Path, num_files: int) -> str:
    """The table of a large tree: seconds and peak memory undisturbed, and after a kill about half way.

    Raises:
        RuntimeError: where the resumed run wrote other files than the undisturbed one, or read too much.
    """
    root = folder / "tree"
    num_sources = make_tree(root, num_files)
    undisturbed = _run(root, folder / "whole")
    if _run(root, folder / "killed", die_after=num_files // 2):
        raise RuntimeError("the run was over before it could be killed")
    num_kept = _lines(folder / "killed" / JOURNAL_NAME) - 1  # the first says what is scanned
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
            f"| again, after one that was killed when it had read half: same bytes | {resumed} |",
        ]
    )


@dataclass(frozen=True)
class _Run:
    """Figures of one finished run of the command."""

    num_read: int
    seconds: float
    peak_gib: float

    def __str__(self) -> str:
        return f"{self.num_read:,} | {self.seconds:.1f} | {self.peak_gib:.2f} GiB"


def _run(root: Path, dest: Path, *, die_after: int | None = None) -> _Run | None:
    """Run make_manifest.py in a process of its own; None where it died after reading `die_after` files, as it was to.

    A process of its own: what this one holds would count as its memory.
    """
    code = "import manifest_scale, sys; sys.exit(manifest_scale.counted_run(*sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(root), str(dest), str(-1 if die_after is None else die_after)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    started = time.perf_counter()
    done = processes.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    if die_after is not None and done.returncode == -signal.SIGKILL:
        return None
    if done.returncode:
        raise RuntimeError(f"make_manifest.py failed with {done.returncode}: {done.stderr[-2000:]}")
    num_read, peak_kib = done.stdout.splitlines()[-1].split()
    return _Run(int(num_read), seconds, int(peak_kib) / 2**20)


def counted_run(root: str, dest: str, die_after: str) -> int:
    """The child's part of `_run`: kills itself after so many files, else prints files read and peak memory in KiB."""
    import resource

    from summarymixing_fairseq.corpora import folder as make_manifest
    from summarymixing_fairseq.corpora.audio import scan

    num_read = 0
    parallel_iter = scan.parallel_iter

    def counted(*args: object, **options: object) -> Iterator[object]:
        nonlocal num_read
        for entry in parallel_iter(*args, **options):
            if num_read == int(die_after):
                os.kill(os.getpid(), signal.SIGKILL)
            num_read += 1
            yield entry

    scan.parallel_iter = counted
    status = make_manifest.main([root, "--dest", dest])
    print(num_read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return status


def _lines(path: Path) -> int:
    with open(path, "rb") as lines:
        return sum(line.endswith(b"\n") for line in lines)


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Measure how make_manifest.py scales.")
    parser.add_argument("--folder", type=Path, help="where the trees are made (default: the system's temporary folder)")
    parser.add_argument("--files", type=positive_int, default=20_000, help="files of the comparison (20000)")
    parser.add_argument("--tree", type=positive_int, default=1_000_000, help="files of the large tree (1000000)")
    parser.add_argument("--rounds", type=positive_int, default=5, help="of the comparison (5)")
    args = parser.parse_args(argv)
    return command.run_script(lambda: _measure(args))


def _measure(args: argparse.Namespace) -> str:
    with contextlib.ExitStack() as stack:
        with interrupts.uninterrupted():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="measure-scale-", dir=args.folder))
            stack.enter_context(interrupts.cleanup(functools.partial(shutil.rmtree, folder, ignore_errors=True)))
        print(f"{machine()}\n")
        print(measure_speed(Path(folder), args.files, args.rounds), end="\n\n", flush=True)
        return measure_tree(Path(folder), args.tree)


if __name__ == "__main__":
    command.as_script(main)
