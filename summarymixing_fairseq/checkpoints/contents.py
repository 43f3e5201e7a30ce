"""What is in a checkpoint of fairseq's: configuration and weights, and how a model is built of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from fairseq.data import Dictionary
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from ..system.errors import InputError
from ..system.finite import check_finite

# A configuration may ask for this many parameters more than there are weights: some come without pre-training's heads.
SPARE_PARAMETERS = 2**24
# what our modules, fairseq's and omegaconf raise over a configuration
REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    OmegaConfBaseException,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


def without_optimizer(
    cfg: Any, weights: dict[str, torch.Tensor], num_updates: int, dictionary: Dictionary | None
) -> dict[str, Any]:
    """Configuration, weights and symbols in the form of a checkpoint of fairseq's without its optimizer."""
    history = {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": num_updates}
    is_flat = isinstance(cfg, dict) and not cfg.get("model")  # as fairseq saved it until 2020
    return {
        "args": cfg if is_flat else None,
        "cfg": None if is_flat else cfg,
        "model": weights,
        "task_state": {} if dictionary is None else {"target_dictionary": dictionary},
        "optimizer_history": [history],
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}},
    }


def section(container: Any, key: str) -> dict[str, Any]:
    """The dictionary at ``key``, or an empty one where there is none."""
    value = container.get(key) if isinstance(container, dict) else None
    return value if isinstance(value, dict) else {}


def config_of(state: Any) -> dict[str, Any]:
    """The whole configuration in what ``load_safely`` gave: ``cfg``, or ``args`` as until 2020."""
    config = section(state, "cfg")
    return config if config.get("model") else section(state, "args")


def sections(config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Model's and task's part of a configuration, ``_name`` in the model's: today's, or flat as until 2020."""
    config = config if isinstance(config, dict) else {}
    model, task = section(config, "model"), section(config, "task")
    if not model:
        model = task = config
    name = model.get("_name") or model.get("arch")
    return {**model, "_name": name if isinstance(name, str) else None}, task


def first_of_type(name: str, expected: type, default: Any, *places: dict[str, Any]) -> Any:
    """The first value of that type in one section after the other."""
    return next((place[name] for place in places if type(place.get(name)) is expected), default)


def num_updates_of(state: Any) -> int:
    """Updates of the run that saved a checkpoint; 0 where it does not say."""
    history = state.get("optimizer_history")
    last = history[-1:] if isinstance(history, list) else []
    return int(first_of_type("num_updates", int, 0, *(entry for entry in last if isinstance(entry, dict))))


def weights_of(state: Any, path: Path) -> dict[str, torch.Tensor]:
    """The model's weights in what ``load_safely`` gave.

    Raises:
        InputError: where there are none, or some are not finite.
    """
    weights = section(state, "model")
    if not weights or not all(isinstance(weight, torch.Tensor) for weight in weights.values()):
        raise no_fairseq_checkpoint(path)
    check_finite(weights, path)
    return weights


def no_fairseq_checkpoint(path: Path) -> InputError:
    """The error of a file that torch reads but fairseq did not write."""
    return InputError(f"{path} is not a checkpoint of fairseq's (no configuration and weights in it)")


def load_weights(model: nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Put weights into a model that must have just these.

    Raises:
        InputError: for a weight too many, missing, or of another size.
    """
    try:
        model.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        first = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise InputError(f"{path}: weights do not fit its configuration: {first[:200]}") from None


def check_proportion(num_wanted: int, weights: dict[str, torch.Tensor], path: Path) -> None:
    """Compare what a configuration asks for with the weights beside it, before any is allocated.

    Args:
        num_wanted: parameters that the configuration builds, roughly.

    Raises:
        InputError: for several times as many as there are: of the wrong file, or made to fill the memory.
    """
    num_weights = sum(weight.numel() for weight in weights.values())
    if num_wanted > 4 * num_weights + SPARE_PARAMETERS:
        raise InputError(
            f"{path}: its configuration builds a model of some {num_wanted:.1e} parameters, but it holds "
            f"{num_weights:.1e}: refused"
        )


def over_defaults(defaults: Any, config: dict[str, Any]) -> Any:
    """Configuration of a checkpoint over today's defaults; fields that are gone since are left out."""
    known = {name: value for name, value in config.items() if name in defaults.__dataclass_fields__}
    return OmegaConf.merge(OmegaConf.structured(defaults), known)


@contextmanager
def refusals_named(name: Any) -> Iterator[None]:
    """Turn what a configuration can be refused for into an InputError that begins with ``name``, a file's path."""
    try:
        yield
    except REFUSALS as error:
        if isinstance(error, InputError) and str(error).startswith(str(name)):
            raise
        reason = " ".join(filter(None, (getattr(error, "full_key", None), str(error).strip().split("\n")[0])))
        raise InputError(f"{name}: its configuration does not build a model: {reason[:200]}") from None
