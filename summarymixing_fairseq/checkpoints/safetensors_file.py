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
from omegaconf import DictConfig, OmegaConf

from ..system.errors import InputError
from ..system.files import atomic_write

METADATA_KEY = "summarymixing_fairseq"
_WORDS = ("bos_word", "eos_word", "pad_word", "unk_word")
# a dictionary of classes has no special symbols, and so none of these
_INDICES = ("bos_index", "eos_index", "pad_index", "unk_index", "nspecial")


def write_safetensors(state: dict[str, Any], path: Path) -> None:
    """Write the model of a checkpoint.

    Args:
        state: as ``untrusted_file.load_safely`` gives it, of fairseq's form.

    Raises:
        InputError: if it cannot be written, or its configuration is none of plain values.
    """
    from safetensors.torch import save

    config = state.get("cfg")
    if isinstance(config, DictConfig):
        config = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    dictionary = (state.get("task_state") or {}).get("target_dictionary")
    described = {
        "cfg": config,
        "dictionary": None if dictionary is None else _described(dictionary),
        "num_updates": state["optimizer_history"][-1].get("num_updates", 0) if state.get("optimizer_history") else 0,
    }
    try:
        # one entry: safetensors gives several an order by chance, and the same weights should give the same file
        metadata = {METADATA_KEY: json.dumps(described)}
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: the checkpoint's configuration is not of plain values, so it cannot be written"
        ) from None
    weights = {name: weight.contiguous() for name, weight in state["model"].items()}
    with atomic_write(path, "wb") as file:
        file.write(save(weights, metadata))


def read_safetensors(path: Path) -> dict[str, Any]:
    """What ``write_safetensors`` wrote, in the form of a checkpoint of fairseq's without its optimizer.

    Raises:
        InputError: for a file that is missing, damaged, or without the configuration.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            weights: dict[str, torch.Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise InputError(f"checkpoint {path} cannot be read: no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a safetensors file that can be read: {error}") from None
    try:
        described = json.loads(metadata[METADATA_KEY])
        config, symbols, num_updates = described["cfg"], described["dictionary"], int(described["num_updates"])
        task_state = {} if symbols is None else {"target_dictionary": _dictionary(symbols)}
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{path} holds weights without the configuration that `summarymixing export` writes beside them: name the "
            "checkpoint it was made of"
        ) from None
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": num_updates}
    return {
        "args": None,
        "cfg": config,
        "model": weights,
        "task_state": task_state,
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }


def _described(dictionary: Dictionary) -> dict[str, Any]:
    special = {name: getattr(dictionary, name) for name in _WORDS + _INDICES if hasattr(dictionary, name)}
    return {"symbols": dictionary.symbols, "count": dictionary.count, **special}


def _dictionary(described: dict[str, Any]) -> Dictionary:
    """Raises KeyError, TypeError or ValueError for what describes none."""
    symbols, counts = list(described["symbols"]), [int(count) for count in described["count"]]
    if len(symbols) != len(counts) or len(set(symbols)) != len(symbols):
        raise ValueError("a symbol without its count, or twice")
    dictionary = Dictionary(add_special_symbols=False)
    dictionary.symbols, dictionary.count = symbols, counts
    dictionary.indices = {symbol: index for index, symbol in enumerate(symbols)}
    for names, kind in ((_WORDS, str), (_INDICES, int)):
        for name in names:
            if name in described:
                setattr(dictionary, name, kind(described[name]))
    if not all(isinstance(symbol, str) for symbol in symbols):
        raise ValueError("a symbol that is no text")
    return dictionary
