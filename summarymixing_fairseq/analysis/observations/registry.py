"""Measures by name. A measure is one file of this folder: a function of what is observed, and ``register_measure``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..observed import Estimate, Observed


class Row(NamedTuple):
    """One number of a result.

    Attributes:
        place: what it is of, such as ``3`` or ``3.s``; number: its name; other: place that it is compared with.
    """

    place: str
    number: str
    estimate: Estimate
    other: str = ""


Run = Callable[[Observed, Sequence[str]], Iterator[Row]]


@dataclass(frozen=True)
class Measure:
    """A measure.

    Attributes:
        name: by which it is asked for.
        help: what its numbers say, in a few words.
        needs: labels without which it is not measured: ``phones``, ``words``, ``speakers``; or ``branches``.
        run: from what is observed, and the places to measure, to rows.
        by_default: whether it is measured unless others are named.
    """

    name: str
    help: str
    needs: tuple[str, ...]
    run: Run
    by_default: bool


MEASURES: dict[str, Measure] = {}


def register_measure(
    name: str, help: str, needs: tuple[str, ...] = (), by_default: bool = True
) -> Callable[[Run], Run]:
    """Decorator of a function from an ``Observed`` and places to ``Row``s; see ``Measure``."""

    def register(run: Run) -> Run:
        MEASURES[name] = Measure(name, help, needs, run, by_default)
        return run

    return register
