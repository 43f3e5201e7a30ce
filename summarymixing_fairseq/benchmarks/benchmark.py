"""What a benchmark is: contenders that do the same work, timed at several sizes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..system.errors import InputError

ALL = "all"
# The mixers that the paper compares, which are measured unless more are asked for.
PAPER_MIXERS = ("summarymixing", "mhsa")
PRECISIONS = ("fp32", "amp", "fp16", "bf16")


@dataclass(frozen=True)
class Step:
    """One repetition of a contender.

    Attributes:
        run: does the work that is timed.
        warm_up: called before the first timed run; None: ``run`` itself.
        other_bytes: memory that child processes took in the last repetition; None: there are none.
    """

    run: Callable[[], object]
    warm_up: Callable[[], object] | None = None
    other_bytes: Callable[[], int] | None = None


@dataclass(frozen=True)
class Benchmark:
    """One benchmark. A file of ``benchmarks.suite`` holds it as ``BENCHMARK``; the file's name is the benchmark's.

    Attributes:
        help: one line for ``--help``.
        reference: contender whose time and memory are given as shares of each other contender's.
        size_unit: unit of the sizes, for tables.
        add_arguments: adds the benchmark's options to a parser, the sizes by ``add_sizes``. All others are settings:
            they are recorded with the results and passed to ``build``. JSON must be able to hold them.
        contenders: their names; raises InputError if a rival is not installed.
        build: from contender, size, settings and device ("cpu" or "cuda") to what is timed, in the contender's own
            process.
        hold: whether a contender stays in memory from round to round, as every one does on a GPU. If not, each
            repetition starts a new process, which has its own peak memory.
        keep_freed_memory: whether freed memory is kept for reuse, as in training (see ``system.cpu_memory``).
        environment: additional environment variables of a contender's process.
    """

    help: str
    reference: str
    size_unit: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    contenders: Callable[[], list[str]]
    build: Callable[[str, float, dict[str, Any], str], Step]
    hold: bool = True
    keep_freed_memory: bool = True
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def add_contenders(parser: argparse.ArgumentParser) -> None:
    """Add ``--contenders``."""
    text = f"only these; {ALL}: every registered mixer; unasked those of the paper; an unknown name lists them"
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help=text)


def choose(given: Sequence[str] | None, names: Sequence[str]) -> list[str]:
    """Contenders by what ``--contenders`` says, in their order.

    Args:
        given: names; "all": every registered mixer, each once; None: the paper's mixers, their variants and the
            rivals. A benchmark without mixers has all its contenders in both cases.

    Raises:
        InputError: for an unknown name.
    """
    from ..modules.mixing import MIXERS

    if given == [ALL]:
        return [name for name in names if name in MIXERS] or list(names)
    if given is None:
        others = set(MIXERS) - set(PAPER_MIXERS)
        return [name for name in names if name.partition(",")[0] not in others]
    if unknown := sorted(set(given) - set(names)):
        raise InputError(f"--contenders {unknown[0]!r}: choose among {', '.join(map(repr, names))}, or {ALL}")
    return [name for name in names if name in given]


def add_sizes(parser: argparse.ArgumentParser, option: str, kind: type, default: list[Any], text: str) -> None:
    """Add the option that holds the sizes: at least one number, of a kind (int or float)."""
    parser.add_argument(option, dest="sizes", type=kind, nargs="+", default=default, metavar="N", help=text)


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``, the recipe."""
    parser.add_argument("--config", default="examples/pretraining/base.yaml", metavar="YAML", help="recipe")


def of_mixer(name: str) -> list[str]:
    """Overrides of a recipe that give every layer that mixer."""
    return [f"model.mixer={name}", "model.mixers=[]"]


def mixer_names(first: str) -> list[str]:
    """Names of all registered mixers, ``first`` before the others."""
    from ..modules.mixing import MIXERS

    return [first, *sorted(set(MIXERS) - {first})]
