"""Learned weights of the hidden states, a column for each probe: which layers of an encoder a task uses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from ...system.errors import InputError
from ..results import RESULTS_NAME, Results, read_results

# name, description and hash of an encoder
Identity = tuple[str, str, str]
_RUN_FOLDER = re.compile(r"(?P<task>.+)_probe(?P<probe>\d+)")
_FOLD_FOLDER = re.compile(r"fold\w*")


@dataclass(frozen=True)
class Column:
    """Weights of one probe.

    Attributes:
        encoder: its name in the table; task, probe: what was trained.
        weights: (states,) of the hidden states, the encoder's input first.
        num_runs: number of runs (folds of a cross-validation) that they are the mean of.
    """

    encoder: str
    task: str
    probe: str
    weights: tuple[float, ...]
    num_runs: int = 1


def centre_of_gravity(weights: Sequence[float]) -> float:
    """Mean index of the hidden states, by weight; 0 is the encoder's input, L its last layer."""
    return sum(layer * weight for layer, weight in enumerate(weights)) / sum(weights)


def find_results(paths: Sequence[Path]) -> list[Path]:
    """The given files, and all results.json of probes in the given folders, each file once; `analyse` writes others.

    Raises:
        InputError: for a path that is not there, or a folder without results.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        files = [path]
        if path.is_dir():
            files = [one for one in sorted(path.rglob(RESULTS_NAME)) if b'"schema_version"' in one.read_bytes()]
            if not files:
                raise InputError(f"{path} holds no {RESULTS_NAME}: `summarymixing evaluate` or `mp3s` writes them")
        elif not path.exists():
            raise InputError(f"{path} is not there: name {RESULTS_NAME} files of `summarymixing evaluate`, or folders")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_columns(paths: Sequence[Path]) -> list[Column]:
    """Columns of results files, one for each checkpoint, sorted by encoder.

    Results of a checkpoint on several test splits have the same weights and give one column. Folds of a
    cross-validation, which lie in sibling folders fold*, are averaged.

    Raises:
        InputError: for a file that cannot be read, or without finite weights.
    """
    # of each probe, the columns of its folds by their checkpoints
    probes: dict[tuple[Identity, Path, int], dict[Path, Column]] = {}
    for path in find_results(paths):
        results = read_results(path)
        identity: Identity = (results.encoder.name, results.encoder.description, results.encoder.sha256)
        checkpoint = Path(results.checkpoint)
        is_fold = _FOLD_FOLDER.fullmatch(checkpoint.parent.name)
        column = _column(results, path, checkpoint.parent.parent if is_fold else checkpoint.parent)
        probe = (identity, checkpoint.parent.parent if is_fold else checkpoint, len(column.weights))
        probes.setdefault(probe, {}).setdefault(checkpoint, column)
    titles = _titles(list(dict.fromkeys(identity for identity, *_ in probes)))
    columns: list[Column] = []
    taken: dict[tuple[str, str, str], int] = {}
    for (identity, *_), group in sorted(probes.items(), key=lambda item: list(titles).index(item[0][0])):
        folds = list(group.values())
        weights = tuple(map(mean, zip(*(fold.weights for fold in folds))))
        column = replace(folds[0], encoder=titles[identity], weights=weights, num_runs=len(folds))
        key = (column.encoder, column.task, column.probe)
        taken[key] = taken.get(key, 0) + 1
        # numbered if the same probe was trained several times, as with several seeds
        columns.append(column if taken[key] == 1 else replace(column, task=f"{column.task} #{taken[key]}"))
    return columns


def _titles(identities: Sequence[Identity]) -> dict[Identity, str]:
    """A title for each (name, description, hash): the name, and what else is needed to make it unique."""
    titles = {}
    for identity in identities:
        name, description, sha256 = identity
        title = name
        if sum(other[0] == name for other in identities) > 1:
            title = f"{name}, {description}"
        if sum(other[:2] == identity[:2] for other in identities) > 1:
            title = f"{title}, {sha256[:8]}"
        titles[identity] = title
    return titles


def _column(results: Results, path: Path, folder: Path) -> Column:
    weights = tuple(results.layer_weights)
    if not weights:
        raise InputError(f"{path} holds no layer weights: evaluate the probe again")
    if not all(0 <= weight <= 1 for weight in weights) or not sum(weights) > 0:
        raise InputError(f"{path}: the layer weights are not finite numbers from 0 to 1: has its training diverged?")
    named = _RUN_FOLDER.fullmatch(folder.name)
    if named:
        return Column("", named["task"], f"probe {named['probe']}", weights)
    # its folder is not named as those of examples/mp3s
    return Column("", results.task.removeprefix("probe_"), results.head, weights)


def as_text(columns: Sequence[Column]) -> str:
    """A block for each encoder: hidden states in rows, probes in columns, * at the largest weight of each probe."""
    return "\n\n".join(
        _block(encoder, [column for column in columns if column.encoder == encoder])
        for encoder in dict.fromkeys(column.encoder for column in columns)
    )


def _block(encoder: str, columns: Sequence[Column]) -> str:
    num_states = max(len(column.weights) for column in columns)
    first = ["hidden state", ""] + [str(state) if state else "0 (input)" for state in range(num_states)]
    cells = [[*first, "centre of gravity"]]
    for column in columns:
        weights = column.weights
        largest = weights.index(max(weights))
        shown = [f"{weight:.3f}{'*' if state == largest else ' '}" for state, weight in enumerate(weights)]
        probe = column.probe + (f", {column.num_runs} folds" if column.num_runs > 1 else "")
        padding = [""] * (num_states - len(weights))
        cells.append([column.task, probe, *shown, *padding, f"{centre_of_gravity(weights):.2f} "])
    widths = [max(map(len, column)) for column in cells]
    rows = [
        "  ".join([cells[0][i].ljust(widths[0]), *(cell[i].rjust(width) for cell, width in zip(cells[1:], widths[1:]))])
        for i in range(len(cells[0]))
    ]
    rows.insert(2, "-" * len(rows[0]))
    rows.insert(-1, "-" * len(rows[0]))
    return "\n".join([f"{encoder} (equal weights: {1 / num_states:.3f} each)", *(row.rstrip() for row in rows)])
