"""``torch.compile`` for modules, if the machine has a compiler."""

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
    """Say what ``torch.compile`` needs for ``device`` and cannot find; None if it has everything."""
    if device.type == "cuda":
        return None if importlib.util.find_spec("triton") else "the package triton is not installed"
    compiler = os.environ.get("CXX", "g++")
    return None if shutil.which(compiler) else f"no C++ compiler ({compiler}) is on the PATH"


def compile_modules(modules: Iterable[nn.Module], device: torch.device) -> None:
    """Compile modules in place at their first call, or log one warning if there is no compiler.

    Modules of the same widths share the generated code, for batches of any number of clips and frames. Names of
    parameters do not change, so checkpoints of compiled and plain modules are the same.
    """
    if missing := missing_compiler(device):
        logger.warning("model.compile_layers=true has no effect: %s", missing)
        return
    # for pytorch_ddp torch would cut each graph where 25 MB of gradients end; layers are graphs of their own already
    torch._dynamo.config.optimize_ddp = False
    for module in modules:
        module.compile(dynamic=True)  # else each new shape is compiled anew, until torch gives up after eight
