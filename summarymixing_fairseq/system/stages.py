"""Stages of a walk-through: commands that a user could type, each run to its end before the next one starts."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from .errors import InputError
from .jobs import Describe, run_process
from .processes import started


def run_beside(
    name: str, command: Sequence[str], output: Path, folder: Path, log: Path, describe: Describe
) -> Generator[Describe, None, float]:
    """Like ``run_stage``, as part of a job that runs beside others (``jobs.run_jobs``): with one thread.

    The models of walk-throughs are so small that two processes with a thread each do more than one with two.

    Args:
        output: file that it has to write; describe: text on how far it is.

    Raises:
        InputError: as ``run_process``.
    """
    print(f"{name}: {shlex.join(command)}", flush=True)
    one_thread = {**environment(), "OMP_NUM_THREADS": "1"}
    return (yield from run_process(command, output, log, folder, one_thread, (), describe))


def environment() -> dict[str, str]:
    """Environment of a stage: this process's, where programs are looked for beside this Python first."""
    return {
        # Batches of many shapes fragment glibc's heap. Large tensors that are mapped are given back. For stages that
        # do not train: a training on a CPU maps none (``cpu_memory.keep_freed_memory``).
        "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
    }


def run_stage(name: str, command: Sequence[str], folder: Path) -> float:
    """Print a command, run it, and return the seconds that it took.

    Args:
        command: program and arguments. A program without a path is looked for beside this Python first.
        folder: the command's working directory.

    Raises:
        InputError: if the command is not installed, or fails.
    """
    print(f"{name}: {shlex.join(command)}", flush=True)
    began = time.monotonic()
    try:
        with started(command, cwd=folder, env=environment()) as process:
            status = process.wait()
    except FileNotFoundError as error:
        if error.filename != command[0]:
            raise
        raise InputError(f"{command[0]} is not installed: pip install -e '.[quickstart]'") from None
    if status:
        raise InputError(f"{name} failed with status {status}")
    return time.monotonic() - began
