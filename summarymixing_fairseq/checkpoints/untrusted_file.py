"""Reading a file of weights that may come from anyone: nothing in it is run, and no more memory is taken than it holds.

Two formats: what ``torch.save`` writes, read with ``weights_only=True``, and safetensors as ``summarymixing export``
writes it, with the configuration beside the weights.
"""

from __future__ import annotations

import collections
import re
import typing
import zipfile
from argparse import Namespace
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode

from ..system.errors import InputError
from ..system.finite import tensors_in
from .literals import is_literal
from .safetensors_file import read_safetensors

# Strings of configurations that fairseq hands to Python's eval somewhere: model, optimizer, criterion and dataset.
EVALUATED_FIELDS = {
    *("conv_feature_layers", "conv_aggregator_layers", "feature_encoder_spec", "override_encoder_layers"),
    *("character_filters", "adam_betas", "adamax_betas", "adafactor_eps", "lamb_betas", "wer_args"),
    *("encoder_layers", "decoder_layers", "encoder_attention", "decoder_attention", "self_attention"),
    *("project_input", "gated_attention", "downsample", "pretrained"),
}
# ${name:argument}, which omegaconf hands to a function; ${name} only stands for another field
_RESOLVER = re.compile(r"\$\{[^{}]*:")

# What configurations consist of besides strings and numbers: until the end of 2020 an argparse.Namespace, then for a
# while an untyped OmegaConf tree, which names the types of its nodes. (Typed trees hold enums that cannot be pickled.)
CONFIGURATION_CLASSES = [
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


def allow_fairseq_dictionary() -> None:
    """Let ``torch.load(weights_only=True)`` read the letter dictionary that ``audio_finetuning`` saves.

    Without this no fine-tuning run of fairseq's could resume on torch 2.6 or later. Safe: building a ``Dictionary``
    from a checkpoint sets attributes of plain types and runs no code of the file's.
    """
    if hasattr(torch.serialization, "add_safe_globals"):  # torch >= 2.5
        torch.serialization.add_safe_globals([Dictionary])


def load_safely(path: Path) -> Any:
    """What a checkpoint holds, on the CPU.

    Raises:
        InputError: for a file that is missing, cannot be read without running code of its own, promises more than it
            holds, or has code in its configuration where fairseq would run it.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return _checked(read_safetensors(path), path)
        if zipfile.is_zipfile(path):
            _check_archive(path)
            state = _load(path)
        else:
            state = _load_old_format(path)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
    except Exception:  # torch raises half a dozen types here, depending on where a file goes wrong
        raise InputError(
            f"{path} is not a checkpoint that can be loaded safely (tensors and plain containers, no code)"
        ) from None
    return _checked(state, path)


def _load(path: Path) -> Any:
    """``torch.load`` that also reads the configurations of old public checkpoints.

    wav2vec 2.0's of 2020 (``wav2vec_small.pt``, ``libri960_big.pt``) hold ``args``, an ``argparse.Namespace``; later
    ones and HuBERT's ``cfg`` of plain containers. Safe: such objects only take attributes of allowed types.
    """
    allow_fairseq_dictionary()
    # torch >= 2.5 has safe_globals
    with getattr(torch.serialization, "safe_globals", nullcontext)(CONFIGURATION_CLASSES):
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_archive(path: Path) -> None:
    """Raises InputError for an archive that would unpack to more than its own size, which torch would do."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > path.stat().st_size:
        raise InputError(f"{path} unpacks to {unpacked} bytes, more than it has: refused")


def _load_old_format(path: Path) -> Any:
    """A file from before torch 1.6, whose storages torch allocates as it says: it is asked for its sizes first."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        storages = [tensor.untyped_storage() for tensor in tensors_in(_load(path))]
        promised = sum({storage._cdata: storage.nbytes() for storage in storages}.values())
    if promised > path.stat().st_size:
        raise InputError(f"{path} declares tensors of {promised} bytes, more than it has: refused")
    return _load(path)


def _checked(state: Any, path: Path) -> Any:
    for tensor in tensors_in(state):
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"{path} declares a tensor of {tensor.numel()} numbers and holds fewer: refused")
    if isinstance(state, dict):
        for name in ("cfg", "args"):
            refuse_code(state.get(name), path)
    return state


def refuse_code(config: Any, path: Path, name: str = "") -> None:
    """Look through a checkpoint's configuration for what fairseq or omegaconf would run.

    Raises:
        InputError: for a string in one of ``EVALUATED_FIELDS`` that is not an expression of literals, or one that
            calls a resolver of omegaconf's, as ``${oc.env:HOME}`` does.
    """
    if isinstance(config, (DictConfig, ListConfig)):
        config = OmegaConf.to_container(config, resolve=False)
    if isinstance(config, Namespace):
        config = vars(config)
    if isinstance(config, dict):
        for key, value in config.items():
            refuse_code(value, path, str(key))
    elif isinstance(config, (list, tuple)):
        for value in config:
            refuse_code(value, path, name)
    elif isinstance(config, str) and (
        _RESOLVER.search(config) or (name in EVALUATED_FIELDS and not is_literal(config))
    ):
        raise InputError(f"{path}: its configuration has {name}={config[:60]!r}, which would be run as code: refused")
