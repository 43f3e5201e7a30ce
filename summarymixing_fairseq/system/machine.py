"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

from ..version import __version__

# One import name, three distributions
_FAIRSEQ_DISTRIBUTIONS = ("ve-fairseq", "fairseq-fixed", "fairseq")


def available_threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(device: str, num_threads: int) -> dict[str, Any]:
    """Hardware and versions, as they stand in every result.

    Args:
        device: "cpu" or "cuda"; num_threads: what the contenders compute with.
    """
    import torch

    hardware = f"{_cpu_name()}, {num_threads} threads"
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        hardware = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB; {hardware}"
    return {
        "hardware": hardware,
        "device": device,
        "num_threads": num_threads,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fairseq": installed_versions()["fairseq"],
    }


def installed_versions() -> dict[str, str]:
    """Versions of this package, torch, fairseq (with its distribution's name) and Python, importing none of them."""
    versions = {"summarymixing_fairseq": __version__, "python": platform.python_version()}
    for name, distributions in (("torch", ("torch",)), ("fairseq", _FAIRSEQ_DISTRIBUTIONS)):
        versions[name] = "unknown"
        for distribution in distributions:
            try:
                version = metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
            versions[name] = version if distribution == "torch" else f"{distribution} {version}"
            break
    return versions
