"""The table of MP3S, as JSON and as Markdown: a row for each task and probe, a column for each encoder."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from ...system.errors import InputError, printable
from ...system.files import write_together
from ...system.strict_json import to_json
from ...system.tables import markdown_table
from ..metrics.bootstrap import interval_of_ratio
from ..results import Results
from . import paper
from .encoders import Encoder
from .runner import Failure
from .runs import TRAINED_NAME, Run, read_run
from .tasks import ARROWS, MetricKind, Split, Task

SCHEMA_VERSION = 1
POOLING = (
    "IEMOCAP: one probe for each fold; accuracy is over the clips of all folds together, and its interval resamples "
    "these clips."
)
NOT_OF_MP3S = "Tasks marked † are not of MP3S."


def pool_accuracies(folds: Sequence[Results]) -> tuple[float, float, float]:
    """Accuracy over the clips of all folds together.

    The number of correct clips of a fold is its accuracy times its clips. The interval resamples the clips of all
    folds, as it does for a single fold.

    Returns:
        accuracy and its interval, in percent.

    Raises:
        InputError: for a fold whose accuracy times its clips is no whole number, or that does not state its clips.
    """
    right = total = 0
    for results in folds:
        clips, metric = _clips(results), results.metrics["accuracy"]
        hits = metric.value / 100 * clips
        if not math.isfinite(hits) or abs(hits - round(hits)) > 0.01 or not clips:
            raise InputError(
                f"the accuracy of {results.checkpoint}, {metric.value} %, is of no whole number of its {clips} clips: "
                "evaluate it again"
            )
        right, total = right + round(hits), total + clips
    low, high = interval_of_ratio(np.arange(total) < right, np.ones(total))
    return 100 * right / total, 100 * low, 100 * high


def _clips(results: Results) -> int:
    count = results.data.counts.get("clips", 0)
    return int(count) if math.isfinite(count) else 0


def read_cells(runs: Sequence[Run], split: Split) -> tuple[dict[str, Any], list[Results]]:
    """The cells of a probe on a test split, and the results they are made of: of one run, or of all folds.

    Returns:
        by the key of each metric: ``value`` with its 95 % interval ``low`` to ``high``, all in ``unit``, None if
        undefined; ``clips``, ``head``, ``results`` (the files), ``seconds`` of training, ``summary_shares`` of
        the first. ({}, []) unless all runs have been evaluated.

    Raises:
        InputError: for results that cannot be read or lack the metric.
    """
    paths = [run.results_path(split) for run in runs]
    if not paths or not all(path.exists() for path in paths):
        return {}, []
    all_results = [read_run(run, split) for run in runs]
    cells = {}
    for kind in runs[0].task.metrics:
        metric = all_results[0].metrics[kind.key]
        numbers = (metric.value, metric.low, metric.high)
        if len(all_results) > 1:
            numbers = pool_accuracies(all_results)
        value, low, high = (number if math.isfinite(number) else None for number in numbers)
        cells[kind.key] = {
            "value": value,
            "low": low,
            "high": high,
            "unit": metric.unit,
            "clips": sum(map(_clips, all_results)),
            "head": all_results[0].head,
            "results": [str(path.relative_to(runs[0].settings.results)) for path in paths],
            "seconds": _training_seconds(runs),
            "summary_shares": [
                None if None in of_layer else mean(of_layer)
                for of_layer in zip(*(one.summary_shares for one in all_results))
            ],
        }
    return cells, all_results


def _training_seconds(runs: Sequence[Run]) -> float | None:
    try:
        return sum(json.loads((run.folder / TRAINED_NAME).read_text(encoding="utf-8"))["seconds"] for run in runs)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(
    runs: Sequence[Run],
    encoders: Sequence[Encoder],
    failures: Sequence[Failure],
    missing: Sequence[str],
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """The table of all runs that have been evaluated so far, as plain containers.

    Args:
        runs: tasks and probes in the order of the rows; missing: lines on data that was not found.
        provenance: ``machine``, ``command``, ``seed``, ``date``, ``note`` on the data or None, and ``with_paper``:
            whether the paper's figures are shown.

    Returns:
        ``rows`` with their ``cells`` by the encoder's name (None without a value), ``encoders``, ``versions``,
        ``notes`` and the arguments.
    """
    notes = [f"{failure.run.name}, {failure.stage} failed: {failure.reason}" for failure in failures]
    rows: list[dict[str, Any]] = []
    versions: list[dict[str, str]] = []
    descriptions: dict[str, str] = {}
    groups = groupby(runs, key=lambda run: (run.task, run.probe))
    for (task, probe), group in [(key, list(group)) for key, group in groups]:
        by_encoder = {encoder: [run for run in group if run.encoder == encoder] for encoder in encoders}
        for split in task.splits:
            by_name: dict[str, dict[str, Any]] = {}
            for encoder, its_runs in by_encoder.items():
                try:
                    cells, all_results = read_cells(its_runs, split)
                except InputError as error:
                    cells, all_results = {}, []
                    notes.append(str(error))
                by_name[encoder.name] = cells
                versions += [results.versions for results in all_results]
                if all_results:
                    descriptions[encoder.name] = all_results[0].encoder.description
            for metric in task.metrics:
                of_metric = {name: cells.get(metric.key) for name, cells in by_name.items()}
                rows.append(_row(task, probe, split, metric, of_metric))
    for row in rows:
        figures = paper.FIGURES.get((row["task"], row["probe"]), {}) if provenance["with_paper"] else {}
        row["paper"] = [{"task": row["task"], "system": name, "percent": value} for name, value in figures.items()]
    return {
        "schema_version": SCHEMA_VERSION,
        **provenance,
        "versions": {key: sorted({v[key] for v in versions if key in v}) for key in sorted(set().union(*versions))},
        "encoders": [
            {
                **asdict(encoder),
                "path": str(encoder.path),
                "title": encoder.title,
                "description": descriptions.get(encoder.name, ""),
            }
            for encoder in encoders
        ],
        "rows": rows,
        "missing": list(missing),
        "notes": notes,
    }


def _row(task: Task, probe: int, split: Split, metric: MetricKind, cells: dict[str, Any]) -> dict[str, Any]:
    title = task.title if len(task.splits) == 1 else f"{task.title}, {split.name.replace('_', '-')}"
    heads = sorted({cell["head"] for cell in cells.values() if cell})
    return {
        "task": task.name,
        "title": title,
        "of_mp3s": task.of_mp3s,
        "split": split.name,
        "probe": probe,
        "head": ", ".join(heads),
        "metric": metric.key,
        "metric_title": metric.title,
        "higher_is_better": metric.higher_is_better,
        "cells": cells,
        "best": _best(cells, metric.higher_is_better),
    }


def _best(cells: dict[str, Any], higher_is_better: bool) -> list[str]:
    """Encoders with the best value of a row, rounded as it is shown; none if fewer than two have a value."""
    values = {name: round(cell["value"], 2) for name, cell in cells.items() if cell and cell["value"] is not None}
    if len(values) < 2:
        return []
    best = (max if higher_is_better else min)(values.values())
    return [name for name, value in values.items() if value == best]


def as_markdown(table: dict[str, Any]) -> str:
    """The table, and below it the machine, the versions and notes."""
    encoders = table["encoders"]
    has_paper = any(row["paper"] for row in table["rows"])
    header = ["task", "probe", "metric", "clips", *(encoder["title"] for encoder in encoders)]
    lines = [header + ([f"the paper's ({paper.SOURCE})"] if has_paper else [])]
    for row in table["rows"]:
        cells = [row["cells"].get(encoder["name"]) for encoder in encoders]
        clips = sorted({cell["clips"] for cell in cells if cell})
        shown = [_shown(cell, encoder["name"] in row["best"]) for cell, encoder in zip(cells, encoders)]
        arrow = ARROWS[row["higher_is_better"]]
        line = [
            row["title"] + ("" if row["of_mp3s"] else " †"),
            f"{row['probe']}" + (f": {row['head']}" if row["head"] else ""),
            f"{row['metric_title']} % {arrow}",
            ", ".join(f"{number:,}" for number in clips),
            *shown,
        ]
        lines.append(line + ([_reported(row["paper"])] if has_paper else []))
    text = markdown_table(lines[0], lines[1:], pad=True)
    return "\n".join(["# MP3S", "", text, "", *_below(table, has_paper)]) + "\n"


def _shown(cell: dict[str, Any] | None, is_best: bool) -> str:
    if cell is None:
        return ""
    if cell["value"] is None:
        return "undefined"
    value = f"**{cell['value']:.2f}**" if is_best else f"{cell['value']:.2f}"
    return value if cell["low"] is None or cell["high"] is None else f"{value} [{cell['low']:.2f}, {cell['high']:.2f}]"


def _reported(figures: Sequence[dict[str, Any]]) -> str:
    shown = ", ".join(f"{figure['system']} {figure['percent']:.1f}" for figure in figures)
    return f"{shown} (paper)" if shown else ""


def _below(table: dict[str, Any], has_paper: bool) -> list[str]:
    machine = table["machine"]
    lines = [
        "95 % bootstrap intervals in brackets. ↓ lower is better, ↑ higher; the best of a row is bold.",
        f"Encoders: {'; '.join(_encoder_line(encoder) for encoder in table['encoders'])}.",
        f"Machine: {machine['hardware']}; {machine['system']}.",
        "Versions: " + ", ".join(f"{key} {' / '.join(values)}" for key, values in table["versions"].items()) + ".",
        f"Seed {table['seed']}; {table['date']}: `{table['command']}`",
    ]
    tasks = {row["task"] for row in table["rows"]}
    if has_paper:
        lines.append(f"The paper's: {paper.SOURCE}, by the probe of the row that they stand in.")
    if has_paper and tasks & set(paper.LOW_RESOURCE_TASKS):
        lines.append(
            f"The paper's average over the low-resource recognition tasks: {paper.LOW_RESOURCE_RELATIVE_WER_PERCENT} % "
            f"relative WER, {paper.SUMMARYMIXING} against {paper.MHSA}."
        )
    if any(cell and len(cell["results"]) > 1 for row in table["rows"] for cell in row["cells"].values()):
        lines.append(POOLING)
    if not all(row["of_mp3s"] for row in table["rows"]):
        lines.append(NOT_OF_MP3S)
    lines += [f"Not found: {line}" for line in table["missing"]]
    lead = [table["note"]] if table.get("note") else []
    return [f"- {printable(line)}" for line in lead + lines + table["notes"]]


def _encoder_line(encoder: dict[str, Any]) -> str:
    about = ", ".join(filter(None, (encoder["description"], f"sha256 {encoder['sha256'][:12]}")))
    return f"{encoder['title']} ({about})"


def write(table: dict[str, Any], folder: Path) -> None:
    """Write mp3s.json and mp3s.md.

    Raises:
        InputError: if they cannot be written.
    """
    text = to_json(table, indent=1) + "\n"
    write_together({folder / "mp3s.md": as_markdown(table), folder / "mp3s.json": text})
