"""A fine-tuned checkpoint as where another fine-tuning begins: its encoder, and its outputs by their symbols."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from ..system.errors import InputError
from .contents import section, sections, weights_of
from .fine_tuned import BODY, CTC_NAME, HEAD
from .pretraining_config import pretraining_config
from .untrusted_file import load_safely


def is_recogniser(config: Any) -> bool:
    """Whether a checkpoint's whole configuration is that of a CTC model."""
    return sections(config)[0]["_name"] == CTC_NAME


def encoder_of(config: Any, weights: dict[str, Tensor], path: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The pre-training configuration that a CTC model carries, and its encoder's weights.

    Args:
        config: whole configuration of a checkpoint; weights: beside it, all of them.

    Raises:
        InputError: as ``pretraining_config``.
    """
    within = {name[len(BODY) :]: weight for name, weight in weights.items() if name.startswith(BODY)}
    return pretraining_config(sections(config)[0].get("w2v_args"), within, path), within


def copy_outputs(projection: nn.Linear, dictionary: Dictionary, path: Path) -> tuple[list[str], list[str]]:
    """Give an output layer the rows that a fine-tuned checkpoint has for the same symbols. Other rows stay.

    Args:
        projection: (symbols of ``dictionary``, width); path: of the checkpoint.

    Returns:
        Symbols that the checkpoint does not have, and those of the checkpoint that the dictionary does not have.

    Raises:
        InputError: for a checkpoint without a dictionary that fits its outputs, or with an encoder of another width.
    """
    state = load_safely(path)
    weights, saved = weights_of(state, path), section(state, "task_state").get("target_dictionary")
    weight, bias = weights.get(f"{HEAD}weight"), weights.get(f"{HEAD}bias")
    if (
        not isinstance(saved, Dictionary)
        or weight is None
        or bias is None
        or weight.shape != (len(saved), projection.in_features)
        or bias.shape != (len(saved),)
    ):
        raise InputError(f"{path}: its outputs do not fit a dictionary beside them, so it is not known what they are")
    rows = [(row, saved.indices[symbol]) for row, symbol in enumerate(dictionary.symbols) if symbol in saved.indices]
    new, old = (torch.tensor(places) for places in zip(*rows))  # at least <s>, <pad>, </s> and <unk>
    with torch.no_grad():
        projection.weight[new] = weight[old].to(projection.weight)
        projection.bias[new] = bias[old].to(projection.bias)
    unknown = [symbol for symbol in dictionary.symbols if symbol not in saved.indices]
    return unknown, [symbol for symbol in saved.symbols if symbol not in dictionary.indices]
