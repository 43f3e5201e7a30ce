"""Options of what is plugged in by name, as mixers and objectives are: dataclasses whose fields say what they allow."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .errors import InputError

# No width of a published model comes near it: larger ones would only fill the memory.
MAX_WIDTH = 65_536


class Refused(InputError):
    """A value that is not allowed: its field's name, the value, and what is allowed instead."""

    def __init__(self, name: str, value: object, allowed: str):
        shown = repr(value)  # a value out of a checkpoint may be of any size
        super().__init__(f"{name}={shown if len(shown) <= 80 else shown[:77] + '...'}: {allowed}")
        self.name, self.value, self.allowed = name, value, allowed


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
    allowed: str | None = None,
    model_field: str | None = None,
) -> Any:
    """A field of an options dataclass.

    Args:
        default: its type says what a value must be: bool, int, float, str, or a tuple of floats as long.
        help: what it does, in a few words.
        low, high: bounds of a number; choices: of a string; allowed: how an error tells what may be.
        model_field: field of the model's configuration that stands for this option where it is not given.
    """
    metadata = {
        "help": help,
        "low": low,
        "high": high,
        "choices": choices,
        "allowed": allowed,
        "model_field": model_field,
    }
    return dataclasses.field(default=default, metadata=metadata)


def width_option(help: str, standing_for: str, model_field: str) -> Any:
    """An option for a width; 0 for the value of the field ``standing_for``."""
    allowed = f"must be a width, or 0 for {standing_for}; at most {MAX_WIDTH:,}"
    return option(0, f"{help}; 0: {standing_for}", low=0, high=MAX_WIDTH, allowed=allowed, model_field=model_field)


def read_options(options_class: type, given: Mapping[str, Any], owner: str) -> Any:
    """Options out of a configuration, each of its field's type and within its bounds.

    Args:
        options_class: a dataclass of ``option`` fields.
        given: values by option; the others take their defaults.
        owner: what the options are of, for errors.

    Raises:
        Refused: for a value that an option does not allow; InputError: for an option that there is not.
    """
    known = {field.name: field for field in dataclasses.fields(options_class)}
    for name, value in given.items():
        if name not in known:
            raise InputError(f"{owner} has no option {str(name)[:80]!r}: it has {', '.join(known) or 'none'}")
        default, metadata = known[name].default, known[name].metadata
        low, high, choices, allowed = (metadata[key] for key in ("low", "high", "choices", "allowed"))
        if isinstance(default, bool):
            check_flag(name, value)
        elif isinstance(default, (int, float)):
            check_number(name, value, isinstance(default, int), low, high, allowed)
        elif isinstance(default, tuple):
            check_list(name, value, len(default), False, low, high, allowed or f"must be {len(default)} numbers")
        elif choices is not None:
            check_choice(name, value, choices)
        elif not isinstance(value, str):
            raise Refused(name, value, "must be a string")
    return options_class(**given)


def check_flag(name: str, value: object) -> None:
    """Raises Refused unless a value is true or false."""
    if not isinstance(value, (bool, np.bool_)):
        raise Refused(name, value, "must be true or false")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raises Refused unless a value is one of some strings."""
    if not isinstance(value, str) or value not in choices:
        raise Refused(name, value, f"choose one of {', '.join(choices)}")


def check_number(
    name: str, value: object, whole: bool, low: float | None, high: float | None, allowed: str | None = None
) -> None:
    """Raises Refused unless a value is a number, whole if asked for, within its bounds."""
    if not is_number(value, whole, low, high):
        bounds = [f"at least {low:,}"] * (low is not None) + [f"at most {high:,}"] * (high is not None)
        raise Refused(name, value, allowed or f"must be {', '.join(bounds) or 'a number'}")


def is_number(value: object, whole: bool, low: float | None, high: float | None) -> bool:
    """Whether a value is a finite number within its bounds, and whole if asked for."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral if whole else numbers.Real):
        return False
    number: Any = value
    return bool((-np.inf if low is None else low) <= number <= (np.inf if high is None else high)) and (
        whole or bool(np.isfinite(float(number)))
    )


def check_list(
    name: str, value: object, lengths: int | range, whole: bool, low: float | None, high: float | None, allowed: str
) -> None:
    """Raises Refused unless a value is a list of so many numbers within bounds."""
    lengths = range(lengths, lengths + 1) if isinstance(lengths, int) else lengths
    if (
        not isinstance(value, Sequence)
        or isinstance(value, (str, bytes))
        or len(value) not in lengths
        or not all(is_number(entry, whole, low, high) for entry in value)
    ):
        raise Refused(name, value, allowed)
