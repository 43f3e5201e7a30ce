"""``torch.compile`` of modules, where there is a compiler."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterable

import torch
from torch import nn

logger = logging.getLogger(__name__)


def missing_compiler(device: torch.device) -> str | None:
    """What ``torch.compile`` lacks to generate code for ``device``, or None."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton is not installed"
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"no C++ compiler ({compiler}) is on the PATH"


def compile_modules(modules: Iterable[nn.Module], device: torch.device) -> bool:
    """Compile modules in place at their first call; modules of the same shapes share the generated code.

    Parameters and their names stay as they are: a checkpoint does not know whether it was compiled.

    Returns:
        Whether there is a compiler; where not, one warning and nothing is changed.
    """
    missing = missing_compiler(device)
    if missing:
        logger.warning("model.compile_layers=true has no effect: %s", missing)
        return False
    for module in modules:
        module.compile()
    return True
