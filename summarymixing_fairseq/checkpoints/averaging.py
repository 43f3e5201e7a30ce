"""The mean of several checkpoints of one run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor

from ..system.errors import InputError
from .contents import config_of, section, sections, weights_of
from .untrusted_file import load_safely


def average(paths: Sequence[Path]) -> dict[str, Any]:
    """A checkpoint whose weights are the means of those of several, summed in float64; all else is the last one's.

    It has no optimizer, and no measures. Counts, which are no floats, are the last one's too.

    Args:
        paths: two or more; two are in memory at a time, beside the sums.

    Raises:
        InputError: for fewer than two, one that cannot be read safely, or one of another model or dictionary than the
            first.
    """
    if len(set(map(_identity, paths))) < max(2, len(paths)):
        raise InputError("name two or more checkpoints, each once")
    sums: dict[str, Tensor] = {}
    first: Any = None
    state: dict[str, Any] = {}
    for path in paths:
        state = load_safely(path)
        weights = weights_of(state, path)
        about = _about(state, weights)
        if first is None:
            first = about
            sums = {name: torch.zeros(one.shape, dtype=torch.float64) for name, one in weights.items()}
        for found, expected, what in zip(about, first, ("kind of model", "dictionary", "shape of weights")):
            if found != expected:
                raise InputError(f"{path} has another {what} than {paths[0]}: only checkpoints of one run have a mean")
        for name, weight in weights.items():
            sums[name] += weight
    means = {
        name: (sums[name] / len(paths)).to(last.dtype) if last.is_floating_point() else last
        for name, last in state["model"].items()
    }
    kept = {name: value for name, value in state.items() if name != "last_optimizer_state"}
    # what was measured, was so on the last one
    extra = {name: value for name, value in section(state, "extra_state").items() if name not in ("val_loss", "best")}
    for name, value in extra.items():
        if isinstance(value, dict):
            extra[name] = {key: one for key, one in value.items() if key != "quality"}
    return {**kept, "extra_state": extra, "model": means}


def _identity(path: Path) -> Any:
    """Of the file, which may have several names: checkpoint_last.pt is a link to the last one that was written."""
    try:
        status = os.stat(path)
    except OSError:  # reading it says what is wrong
        return path
    return status.st_dev, status.st_ino


def _about(state: Any, weights: dict[str, Tensor]) -> tuple[Any, ...]:
    """What checkpoints of one run have in common: kind of model, symbols, and names and shapes of weights."""
    dictionary = section(state, "task_state").get("target_dictionary")
    symbols = dictionary.symbols if isinstance(dictionary, Dictionary) else None
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    return sections(config_of(state))[0]["_name"], symbols, shapes
