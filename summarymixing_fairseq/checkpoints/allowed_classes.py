"""What fairseq's checkpoints hold besides tensors and plain containers."""

from __future__ import annotations

import argparse
import collections
import typing
from contextlib import AbstractContextManager, nullcontext

import torch
from fairseq.data import Dictionary
from omegaconf import DictConfig, ListConfig
from omegaconf.base import ContainerMetadata, Metadata
from omegaconf.nodes import AnyNode


def allow_fairseq_dictionary() -> None:
    """Let ``torch.load(weights_only=True)`` read the letter dictionary that ``audio_finetuning`` saves.

    Without this no fine-tuning run of fairseq's could resume on torch 2.6 or later. Safe: building a ``Dictionary``
    from a checkpoint sets attributes of plain types and runs no code of the file's.
    """
    if hasattr(torch.serialization, "add_safe_globals"):  # torch >= 2.5
        torch.serialization.add_safe_globals([Dictionary])


# What configurations consist of besides strings and numbers: until the end of 2020 an argparse.Namespace, then for a
# while an untyped OmegaConf tree, which names the types of its nodes. (Typed trees hold enums that cannot be pickled.)
CONFIGURATION_CLASSES = (
    argparse.Namespace,
    DictConfig,
    ListConfig,
    AnyNode,
    ContainerMetadata,
    Metadata,
    typing.Any,
    collections.defaultdict,
    *(dict, list, tuple, str, int, float, bool),
)


def old_configurations_allowed() -> AbstractContextManager[None]:
    """A context in which ``torch.load(weights_only=True)`` also reads the configurations of old public checkpoints.

    wav2vec 2.0's of 2020 (``wav2vec_small.pt``, ``libri960_big.pt``) hold ``args``, an ``argparse.Namespace``; later
    ones and HuBERT's ``cfg`` of plain containers. Safe: such objects only take attributes of allowed types.
    """
    if hasattr(torch.serialization, "safe_globals"):  # torch >= 2.5
        return torch.serialization.safe_globals(list(CONFIGURATION_CLASSES))
    return nullcontext()
