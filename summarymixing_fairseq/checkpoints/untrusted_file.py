"""Reading a file of weights that may come from anyone: nothing in it is run, and no more memory is taken than it holds.

Three formats: what ``torch.save`` writes, read with ``weights_only=True``, and safetensors as ``summarymixing export``
writes it, with the configuration beside the weights; and the folders for transformers that it writes.
"""

from __future__ import annotations

import collections
import errno
import os
import stat
import typing
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode

from ..system.errors import InputError
from .archive import check_archive, is_archive
from .hf_folder import read_hf_folder
from .hub import on_disk
from .pickled import MAX_DEPTH, check_pickle
from .safetensors_file import read_safetensors

# What configurations consist of besides strings and numbers: until the end of 2020 an argparse.Namespace, then for a
# while an untyped OmegaConf tree, which names the types of its nodes. (Typed trees hold enums that cannot be pickled.)
CONFIGURATION_CLASSES: list[typing.Any] = [
    Namespace,
    DictConfig,
    ListConfig,
    AnyNode,
    ContainerMetadata,
    Metadata,
    typing.Any,
    collections.defaultdict,
    *(dict, list, tuple, str, int, float, bool),
]
_REFERENCE = object()  # stands for a value that refers to another


def allow_fairseq_dictionary() -> None:
    """Let ``torch.load(weights_only=True)`` read the letter dictionary that ``audio_finetuning`` saves.

    Without this no fine-tuning run of fairseq's could resume on torch 2.6 or later. Safe: building a ``Dictionary``
    from a checkpoint sets attributes of plain types and runs no code of the file's.
    """
    torch.serialization.add_safe_globals([Dictionary])


def load_safely(path: Path) -> Any:
    """What a checkpoint holds, on the CPU; configurations of any age as plain containers without interpolation.

    Nothing else of a configuration is looked at: the caller takes the fields that it knows.

    Args:
        path: of a file or folder, or a name of the Hugging Face hub: see ``on_disk``.

    Raises:
        InputError: for a file that is missing, no file but a pipe or a device, or damaged; that makes anything but
            tensors, plain containers and old configurations, promises more than it holds, or calls a resolver of
            omegaconf's in its configuration.
    """
    path = on_disk(Path(path))
    try:
        if (path / "config.json").is_file():
            return _checked(read_hf_folder(path), path)
        _check_regular(path)
        if path.suffix == ".safetensors":
            return _checked(read_safetensors(path), path)
        if is_archive(path):
            check_archive(path)
        check_pickle(path)
        state = _load(path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
    except Exception:  # torch raises half a dozen types here, depending on where a file goes wrong
        raise InputError(
            f"{path} is no checkpoint, or a damaged one (cut short?): copy it again, or take another"
        ) from None
    return _checked(state, path)


def _load(path: Path) -> Any:
    """``torch.load`` that also reads the configurations of old public checkpoints.

    wav2vec 2.0's of 2020 (``wav2vec_small.pt``, ``libri960_big.pt``) hold ``args``, an ``argparse.Namespace``; later
    ones and HuBERT's ``cfg`` of plain containers. Safe: such objects only take attributes of allowed types.
    """
    allow_fairseq_dictionary()
    with torch.serialization.safe_globals(CONFIGURATION_CLASSES):
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_regular(path: Path) -> None:
    """Raises InputError for a pipe or a device, which may have no end; OSError for no file."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise InputError(f"checkpoint {path} is a pipe or a device: name a file")


def _checked(state: Any, path: Path) -> Any:
    if isinstance(state, dict):
        for name in ("cfg", "args"):
            if state.get(name) is not None:
                state[name] = _plain(state[name], path)
    return state


def _plain(config: Any, path: Path, depth: int = 0) -> Any:
    """A configuration of any age as plain containers, without interpolation, which omegaconf would look up and run.

    A value that refers to another, as ``${task.normalize}`` that fairseq has saved as text, is left out (None in a
    list). Nodes of omegaconf's are looked into, and none of its code is asked.

    Raises:
        InputError: for a reference that calls a resolver, as ``${oc.env:HOME}`` does, and for what is not plain.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"{path}: its configuration is nested more than {MAX_DEPTH} times: refused")
    if isinstance(config, (DictConfig, ListConfig, AnyNode)):
        return _plain(vars(config).get("_val" if isinstance(config, AnyNode) else "_content"), path, depth + 1)
    if isinstance(config, Namespace):
        config = vars(config)
    if isinstance(config, dict):
        values = {key: _plain(value, path, depth + 1) for key, value in config.items()}
        return {key: value for key, value in values.items() if value is not _REFERENCE}
    if isinstance(config, (list, tuple)):
        items = [_plain(value, path, depth + 1) for value in config]
        return [None if item is _REFERENCE else item for item in items]
    if isinstance(config, str) and "${" in config:
        if ":" in config:
            raise InputError(f"{path}: its configuration has {config[:60]!r}, which would be run as code: refused")
        return _REFERENCE
    if config is not None and not isinstance(config, (str, int, float, bool)):
        raise InputError(f"{path}: its configuration holds a {type(config).__name__}, which is no plain value: refused")
    return config
