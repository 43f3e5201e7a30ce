"""A whole study: cells that have no result are computed, then table, CSV and plot are written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..system.errors import InputError
from ..system.files import check_writable, exclusive, write_together
from ..system.jobs import Job, Messages, environment, run_jobs
from ..system.machine import of_device
from ..system.tools import find_tools
from .cells import Place, run_cell
from .plan import Cell, Study, read_cell, settings_of
from .plots import plot
from .rows import build
from .table import as_csv, as_markdown


def run_study(study: Study, results: Path, work: Path, jobs: int, device: str) -> list[str]:
    """Compute the cells that have no result, ``jobs`` at a time.

    A training that was interrupted goes on from its last checkpoint in ``work``.

    Returns:
        the names of the cells that failed.

    Raises:
        InputError: before any cell starts, for data that are not there, or a result of other settings.
    """
    cells = [Cell(encoder, seed) for seed in study.seeds for encoder in study.encoders]
    check_writable(results)
    with exclusive(work, "another run of a study") as lock:
        waiting: list[Cell] = []
        failures: list[str] = []
        messages = Messages()
        settings = {cell.name: settings_of(study, cell) for cell in cells}
        hardware = of_device(device, jobs)
        if hardware["device"] == "cuda" and ":" not in device:
            for one in settings.values():
                _fill_in_world_size(one, torch.cuda.device_count())
        for cell in cells:
            path = results / f"{cell.name}.json"
            if path.exists():
                read_cell(path, settings[cell.name])
            else:
                waiting.append(cell)
        env = environment(device, hardware["num_threads"])
        place = Place(work, results, find_tools(), env, device, () if lock is None else (lock,))
        by_pretraining: dict[tuple[str, int], list[Cell]] = {}
        for cell in waiting:
            by_pretraining.setdefault((study.pretrained_as(cell.encoder), cell.seed), []).append(cell)

        def one_after_the_other(these: Sequence[Cell]) -> Job:
            """Cells of one pre-training, which the first of them does."""
            for cell in these:
                yield from run_cell(study, cell, settings[cell.name], place, hardware, messages.say, failures)

        messages.say(f"{len(waiting)} of {len(cells)} cells to compute, {jobs} at a time; logs: {work}/CELL-*")
        run_jobs([one_after_the_other(these) for these in by_pretraining.values()], jobs, messages)
        messages.show("")
    return failures


def _fill_in_world_size(settings: dict[str, Any], num_gpus: int) -> None:
    """Write fairseq's default, all GPUs, into the settings of trainings that leave it: each adds to the batch."""
    for training in ("pretraining", "finetuning"):
        if training in settings:
            settings[training].setdefault("distributed_training.distributed_world_size", num_gpus)


def write_tables(study: Study, results: Path) -> str:
    """Write NAME.md, NAME.csv and NAME.png into the folder of results, from the results there, and return the page.

    Raises:
        InputError: where there is no result, or where two are not comparable.
    """
    found, missing = read_results(study, results)
    rows = build(study, found)
    machines = sorted({f"{one['machine']['hardware']}, torch {one['machine']['torch']}" for one in found})
    page = as_markdown(study, rows, missing, machines, _hours(study, found))
    write_together({results / f"{study.name}.md": page, results / f"{study.name}.csv": as_csv(rows)})
    plot(study, rows, results / f"{study.name}.png")
    return page


def _hours(study: Study, found: Sequence[dict[str, Any]]) -> float:
    """Of all pre-trainings, each counted once; those of an update or two, which log no speed, are left out."""
    pretrained_as = {encoder.name: study.pretrained_as(encoder) for encoder in study.encoders}
    trainings = {(pretrained_as[one["encoder"]], one["seed"]): one["pretraining"] for one in found}.values()
    return sum(one["updates"] / one["updates_per_second"] for one in trainings if one.get("updates_per_second")) / 3600


def read_results(study: Study, results: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Results on record in the study's order, and the names of the cells that have none.

    Raises:
        InputError: where there is no result, or where two are of other data or another training.
    """
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    for cell in (Cell(encoder, seed) for encoder in study.encoders for seed in study.seeds):
        path = results / f"{cell.name}.json"
        if path.exists():
            found.append(read_cell(path, None))
        else:
            missing.append(cell.name)
    if not found:
        raise InputError(f"{results} holds no result of {study.name}: compute them by summarymixing study run")
    _refuse_mixed(found)
    return found, missing


def _refuse_mixed(found: Sequence[dict[str, Any]]) -> None:
    """Raises InputError for results that are of other data than the first, or of another pre-training, fine-tuning or
    probes than the first of their encoder."""
    first_of: dict[str, dict[str, Any]] = {}
    for one in found:
        of_encoder = first_of.setdefault(one["encoder"], one)
        compared = dict.fromkeys(("pretraining_data", "finetuning_data", "probing_data"), found[0])
        of_encoder_alone = dict.fromkeys(("pretraining", "finetuning", "probing"), of_encoder)
        for key, other in {**compared, **of_encoder_alone}.items():
            if one["settings"].get(key) != other["settings"].get(key):
                pair = f"{other['encoder']}-seed{other['seed']} and {one['encoder']}-seed{one['seed']}"
                raise InputError(f"{pair} differ in {key}: they cannot stand in one table")
