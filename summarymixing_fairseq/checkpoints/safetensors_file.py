"""Checkpoints as safetensors, to share: weights, and beside them as JSON the configuration and the symbols.

Such a file can hold no code, and is checked against its own length before anything is allocated. The optimizer stays
behind: a run does not resume from it, but everything else takes it in place of a checkpoint.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary

from ..data.dictionary import INDICES, WORDS, check_fields
from ..system.errors import InputError
from ..system.files import atomic_write
from ..system.strict_json import to_json
from .contents import num_updates_of, section, without_optimizer
from .private import without_places

METADATA_KEY = "summarymixing_fairseq"


def write_safetensors(state: dict[str, Any], path: Path) -> None:
    """Write the model of a checkpoint, without the names of this machine's files and folders.

    Args:
        state: as ``untrusted_file.load_safely`` gives it, of fairseq's form.

    Raises:
        InputError: if it cannot be written, or its configuration is none of plain values.
    """
    from safetensors.torch import save

    dictionary = section(state, "task_state").get("target_dictionary")
    described = {
        "cfg": without_places(state.get("cfg") or state.get("args")),
        "dictionary": _described(dictionary) if isinstance(dictionary, Dictionary) else None,
        "num_updates": num_updates_of(state),
    }
    try:
        # one entry: safetensors gives several no fixed order, and the same weights should give the same file
        metadata = {METADATA_KEY: to_json(described)}
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: the checkpoint's configuration is not of plain values, so it cannot be written"
        ) from None
    weights = {name: own_memory(weight) for name, weight in state["model"].items()}
    with atomic_write(path, "wb") as file:
        file.write(save(weights, metadata))


def own_memory(weight: torch.Tensor) -> torch.Tensor:
    """A copy: safetensors refuses weights that share memory."""
    return weight.clone(memory_format=torch.contiguous_format)


def read_safetensors(path: Path) -> dict[str, Any]:
    """What ``write_safetensors`` wrote, in the form of a checkpoint of fairseq's without its optimizer.

    Raises:
        InputError: for a file that is damaged, or without the configuration.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file that can be read: {error}") from None
    try:
        described = json.loads(metadata[METADATA_KEY])
        config, symbols, num_updates = described["cfg"], described["dictionary"], int(described["num_updates"])
        dictionary = None if symbols is None else _dictionary(symbols)
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{path} holds weights without the configuration that `summarymixing export` writes beside them: name the "
            "checkpoint it was made of"
        ) from None
    return without_optimizer(config, weights, num_updates, dictionary)


def _described(dictionary: Dictionary) -> dict[str, Any]:
    special = {name: getattr(dictionary, name) for name in WORDS + INDICES if hasattr(dictionary, name)}
    return {"symbols": dictionary.symbols, "count": dictionary.count, **special}


def _dictionary(described: dict[str, Any]) -> Dictionary:
    """Raises KeyError, TypeError or ValueError for what describes none."""
    symbols = described["symbols"]
    indices = {symbol: index for index, symbol in enumerate(symbols)}
    fields = {**{name: described[name] for name in WORDS + INDICES if name in described}, "indices": indices}
    fields.update(symbols=symbols, count=described["count"])
    check_fields(fields)
    dictionary = Dictionary(add_special_symbols=False)
    vars(dictionary).update(fields)
    return dictionary
