"""The machine and the versions that a result was measured with."""

from __future__ import annotations

import os
import platform
import re
from contextlib import suppress
from typing import Any

from ..version import __version__
from .errors import InputError


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that are free, those of files that are kept in memory included; None where the system does not say."""
    found = []
    with suppress(OSError, ValueError), open("/proc/meminfo", encoding="utf-8") as file:
        found += [int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError), open("/sys/fs/cgroup/memory.max", encoding="utf-8") as file:
        found.append(int(file.read()))  # the limit of a container; "max" where there is none
    return min(found, default=None)


def cpu_name() -> str:
    """The processor's model."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe(device: str, num_threads: int) -> dict[str, Any]:
    """Hardware and versions, for the file of a result.

    Args:
        device: "cpu", "cuda" (torch's current one) or "cuda:N"; num_threads: CPU threads of the computation.
    """
    import torch

    hardware = f"{cpu_name()}, {num_threads} thread{'s' * (num_threads > 1)}"
    kind = device.partition(":")[0]
    if kind == "cuda":
        properties = torch.cuda.get_device_properties(device)
        hardware = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB; {hardware}"
    return {
        "hardware": hardware,
        "device": kind,
        "num_threads": num_threads,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fairseq": installed_versions()["fairseq"],
    }


def of_device(device: str, jobs: int) -> dict[str, Any]:
    """``describe`` of what each of ``jobs`` computes with under a command's ``--device``: cpu, cuda, cuda:N or auto.

    Its threads are a share of ``OMP_NUM_THREADS``, or of the processors.

    Raises:
        InputError: for a device that is not there. fairseq itself would train on the CPU without saying so.
    """
    import torch

    kind, _, number = device.partition(":")
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise InputError(f"--device {device}: must be cpu, cuda, cuda:N or auto")
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= num_gpus:
        raise InputError(f"--device {device}: torch sees {num_gpus} GPUs here")
    total = os.environ.get("OMP_NUM_THREADS", "")
    num_threads = max(1, (int(total) if total.isdecimal() else available_threads()) // jobs)
    if kind == "cpu" or not num_gpus:
        return describe("cpu", num_threads)
    return describe("cuda" if kind == "auto" else device, num_threads)


def installed_versions() -> dict[str, str]:
    """Versions of this package, Python, torch and fairseq (with its distribution's name); imports none of them."""
    from importlib import metadata  # imported here: it slows the start of every command

    versions = {"summarymixing_fairseq": __version__, "python": platform.python_version()}
    versions.update(torch="unknown", fairseq="unknown")
    for distribution in ("fairseq", "fairseq-fixed", "ve-fairseq"):  # three distributions of one import name
        with suppress(metadata.PackageNotFoundError):
            versions["fairseq"] = f"{distribution} {metadata.version(distribution)}"
    with suppress(metadata.PackageNotFoundError):
        versions["torch"] = metadata.version("torch")
    return versions
