"""One cell of a study: pre-training, fine-tuning of several lengths, and the error rate of the best of them."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

from ..probing.metrics.error_rate import character_error_rate
from ..probing.mp3s.runs import LOG_NAME
from ..probing.mp3s.tasks import WER
from ..probing.results import read_results
from ..system.errors import InputError
from ..system.files import atomic_write
from ..system.jobs import Describe, Job, peaks_mib, run_process
from ..system.strict_json import to_json
from ..system.tools import Tools, quoted
from ..training.log_file import Records, read_log, series
from .plan import Cell, FineTuning, Probing, Study

PRETRAINED, FINE_TUNED, PROBED = "pretrain", "finetune", "probes"
# fairseq's line
_PARAMETERS = re.compile(r"num\. shared model params: ([\d,]+)")
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Place:
    """Where a cell computes, and with what.

    Attributes:
        work: folder for logs and checkpoints of all cells; results: folder for their results.
        descriptors: open files that the processes inherit.
    """

    work: Path
    results: Path
    tools: Tools
    env: Mapping[str, str]
    device: str
    descriptors: Sequence[int] = ()


def run_cell(
    study: Study,
    cell: Cell,
    settings: Mapping[str, Any],
    place: Place,
    machine: Mapping[str, Any],
    say: Callable[[str], None],
    failures: list[str],
) -> Job:
    """Compute a cell and write its result, ``RESULTS/NAME.json``. A failure is said, and added to ``failures``."""
    # of other settings there may be half a training, which fairseq would go on with
    folder = place.work / f"{cell.name}-{_digest(settings)}"
    before = {key: settings[key] for key in ("pretraining", "pretraining_data")}
    shared = place.work / f"{study.pretrained_as(cell.encoder)}-seed{cell.seed}-{PRETRAINED}-{_digest(before)}"
    doing = "pre-training"
    log = shared / f"{PRETRAINED}.log"

    def describe() -> str:
        records = read_log(log) if log.exists() else []
        return f"{cell.name}: {doing}" + (f", update {int(records[-1]['num_updates'])}" if records else "")

    def process(command: Sequence[str], output: Path, log: Path) -> Generator[Describe, None, float]:
        return run_process(command, output, log, folder, place.env, place.descriptors, describe)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        shared.mkdir(parents=True, exist_ok=True)
        checkpoint = shared / PRETRAINED / "checkpoint_last.pt"
        command = _training(place, cell.encoder.config, shared / PRETRAINED, study.pretraining_data, cell.seed)
        yield from process([*command, *cell.encoder.overrides], checkpoint, log)
        result: dict[str, Any] = {
            "encoder": cell.encoder.name,
            "seed": cell.seed,
            "pretraining": _pretraining(log, machine["device"]),
        }
        if (after := study.finetuning) is not None:
            tried = []
            for updates in after.updates:
                name = f"{FINE_TUNED}{updates}"
                doing, log = f"fine-tuning for {updates}", folder / f"{name}.log"
                command = _fine_tuning(place, after, folder / name, cell.seed, checkpoint, updates)
                best = folder / name / "checkpoint_best.pt"
                yield from process([*command, *after.overrides, *cell.encoder.finetuning], best, log)
                rates = series(_records(log), "valid_uer")[1]
                if not rates:
                    raise InputError(f"no valid_uer in {log}: the configuration validates never, or not by letters")
                tried.append({"updates": updates, "valid_cer": min(rates) / 100})
            chosen = min(tried, key=lambda one: one["valid_cer"])
            best = folder / f"{FINE_TUNED}{chosen['updates']}" / "checkpoint_best.pt"
            doing, scores = "decoding", folder / "decoded" / "scores.json"
            yield from process(_decoding(place, best, after, scores.parent), scores, folder / "decode.log")
            result["finetuning"] = {"tried": tried, "chosen": chosen["updates"], "test": _counts(scores.parent)}
        if study.probing is not None:
            tables = {}
            for setting, more in (cell.encoder.tried or {"": ()}).items():
                doing = f"{PROBED}-{setting}" if setting else PROBED
                log, tables[setting] = folder / f"{doing}.log", folder / doing / "mp3s.json"
                command = _probes(place, study.probing, cell, more, checkpoint, tables[setting].parent)
                yield from process(command, tables[setting], log)
            result["probing"] = _probed(tables)
        result |= {"settings": settings, "machine": machine, "date": time.strftime("%Y-%m-%d")}
        with atomic_write(place.results / f"{cell.name}.json") as file:
            file.write(f"{to_json(result, indent=1)}\n")
        say(f"{cell.name}: done")
    except (InputError, OSError) as error:  # e.g. the disk is full
        reason, *tail = str(error).splitlines()
        failures.append(cell.name)
        say("\n".join([f"{cell.name}: {doing} FAILED: {reason}; log: {log}", *tail]))


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(settings).encode()).hexdigest()[:8]


def _training(place: Place, config: Path, folder: Path, data: Path, seed: int) -> list[str]:
    command = [*place.tools.train, "--config-dir", str(config.parent), "--config-name", config.stem]
    paths = {"common.user_dir": _PACKAGE, "task.data": data.absolute(), "checkpoint.save_dir": folder}
    command += [*(f"{key}={quoted(str(path))}" for key, path in paths.items()), f"common.seed={seed}"]
    command.append("common.log_format=json")  # its log is read
    return [*command, "common.cpu=true"] if place.device == "cpu" else command


def _fine_tuning(place: Place, after: FineTuning, folder: Path, seed: int, checkpoint: Path, updates: int) -> list[str]:
    command = _training(place, after.config, folder, after.data, seed)
    command += [f"model.w2v_path={quoted(str(checkpoint))}", f"optimization.max_update={updates}"]
    return [*command, f"dataset.train_subset={after.train}", f"dataset.valid_subset={after.valid}"]


def _decoding(place: Place, checkpoint: Path, after: FineTuning, dest: Path) -> list[str]:
    command = [*place.tools.summarymixing, "decode", str(checkpoint), "--data", str(after.data.absolute())]
    command += ["--split", after.test, "--results", str(dest), "--force"]
    return [*command, "--device", "cpu"] if place.device == "cpu" else command


def _probes(place: Place, probing: Probing, cell: Cell, more: Sequence[str], checkpoint: Path, dest: Path) -> list[str]:
    command = [*place.tools.summarymixing, "mp3s", "--encoder", f"{cell.encoder.name}={checkpoint}"]
    command += ["--data", str(probing.data.absolute()), "--results", str(dest), "--tasks", ",".join(probing.tasks)]
    for override in (*probing.overrides, *cell.encoder.probing, *more):
        command += ["--override", override]
    # of the GPUs that the process sees cuda:1 is the only one
    device = place.device.partition(":")[0]
    return [*command, "--seed", str(cell.seed), "--device", device, "--no-paper", "--force"]


def _probed(tables: Mapping[str, Path]) -> list[dict[str, Any]]:
    """What each probe reached with the setting that is best on the validation clips.

    Args:
        tables: mp3s.json of each setting.

    Raises:
        InputError: where there are several settings, and no number of the validation clips to choose by.
    """
    runs = {name: [_reached(table, row) for row in _rows(table)] for name, table in tables.items()}
    found = []
    for rows in zip(*runs.values()):
        tried = {name: row["valid"] for name, row in zip(runs, rows)}
        if len(tried) > 1 and None in tried.values():
            metric = rows[0]["valid_metric"]
            raise InputError(f"no valid_{metric} in the logs: the configuration validates never, or not by it")
        chosen = (max if rows[0]["valid_higher_is_better"] else min)(tried, key=lambda name: tried[name])
        found.append(rows[list(runs).index(chosen)] | {"tried": tried, "chosen": chosen})
    return found


def _rows(table: Path) -> list[dict[str, Any]]:
    return json.loads(table.read_text(encoding="utf-8"))["rows"]


def _reached(table: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of mp3s.json says: the probe, the metric with its interval, and the gates of the encoder.

    Added are ``valid``, the number of the validation clips that chose the checkpoint (the mean of the folds; None where
    none was logged), and for recognition ``test``, the letters wrong of each test clip.
    """
    (cell,) = row["cells"].values()
    names = {key: row[key] for key in ("task", "probe", "split", "metric", "higher_is_better")}
    reached = {key: cell[key] for key in ("value", "low", "high", "unit", "summary_shares")}
    paths = [table.parent / name for name in cell["results"]]
    checkpoint = read_results(paths[0]).config["checkpoint"]
    metric, higher = (checkpoint[key] for key in ("best_checkpoint_metric", "maximize_best_checkpoint_metric"))
    logs = [path.parents[1] / LOG_NAME for path in paths]
    validations = [series(read_log(log), f"valid_{metric}")[1] for log in logs]
    numbers = [[one for one in of_fold if not math.isnan(one)] for of_fold in validations]
    best = mean(map(max if higher else min, numbers)) if all(numbers) else None
    valid = {"valid_metric": metric, "valid_higher_is_better": higher, "valid": best}
    test = {"test": _counts(paths[0].parent)} if row["metric"] == WER.key else {}
    return {**names, **reached, **valid, **test}


def _records(log: Path) -> Records:
    """Numbers of a training. Raises InputError where its log has none."""
    records = read_log(log)
    if not records:
        raise InputError(f"no numbers in {log}: set common.log_format=json")
    return records


def _pretraining(log: Path, device: str) -> dict[str, Any]:
    """Length, speed, size, what the run began with and its last validation, as its log has them.

    The memory is that of the process: on a GPU it would be the host's, and is left out.
    """
    records = _records(log)
    validations = [
        {
            key.removeprefix("valid_"): float(value)
            for key, value in record.items()
            if key.startswith("valid_") and key != "valid_num_updates"
        }
        for record in records
    ]
    speeds = series(records, "ups")[1]
    text = log.read_text(encoding="utf-8", errors="replace")
    counted = _PARAMETERS.search(text)
    # of all processes that it took: the last may only have found that there is nothing left to do
    peaks = peaks_mib(log) if device == "cpu" else []
    return {
        "updates": int(records[-1]["num_updates"]),
        "updates_per_second": median(speeds) if speeds else None,
        "parameters": int(counted[1].replace(",", "")) if counted else None,
        "peak_mib": max(peaks, default=None),
        "start": validations[0] if records[0]["num_updates"] == 0 else {},
        "valid": next(filter(None, reversed(validations)), {}),
    }


def _counts(decoded: Path) -> dict[str, list[int]]:
    """Letters wrong and letters in all, of each test clip."""
    texts = [(decoded / name).read_text(encoding="utf-8").split("\n")[:-1] for name in ("ref.wrd", "hypo.wrd")]
    rate = character_error_rate(*texts)
    return {"errors": rate.utterance_errors.tolist(), "totals": rate.utterance_lengths.tolist()}
