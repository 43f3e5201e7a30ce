"""The numbers in a log of fairseq's: ``log.jsonl`` of a run's folder, or what is printed with ``log_format=json``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..system.errors import InputError

# Of a run's folder.
NUMBERS = "log.jsonl"
# Of what a person sees of a record.
_SHOWN = {
    "loss": "loss",
    "accuracy": "accuracy",
    "uer": "error rate of units",
    "wer": "of words",
    "phones_latents": "phones told by the latents",
}
_RECORD = re.compile(r"\{\"[^{}]*\}")
_UPDATES = "num_updates"

Records = list[dict[str, float]]


def read_log(path: Path) -> Records:
    """Numbers of training and of validation, in the order of updates.

    A resumed run logs some updates again: the last record of an update and kind counts. What is no record is skipped,
    as is one that a kill has torn.

    Returns:
        fairseq's records, the numbers of each, with ``num_updates``. Names of a validation begin with ``valid_``,
        whatever its set is called; of several sets the first counts.

    Raises:
        InputError: for a file that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    records: dict[tuple[float, bool], dict[str, Any]] = {}
    sets: list[str] = []  # of validation, in the order of the log
    for line in text.splitlines():
        found = _RECORD.search(line)
        try:
            record = json.loads(found[0]) if found else {}
        except ValueError:
            continue
        record = {name: number for name, value in record.items() if (number := _number(value)) is not None}
        prefix = next((name[: -len(_UPDATES)] for name in record if name.endswith(_UPDATES)), None)
        if prefix is None or prefix == "train_":  # the means of an epoch
            continue
        num_updates = record[prefix + _UPDATES]
        if prefix:
            sets.append(prefix)
            if prefix != sets[0]:
                continue
            record = {name.replace(prefix, "valid_", 1): value for name, value in record.items()}
        records[num_updates, bool(prefix)] = {**record, _UPDATES: num_updates}
    return [records[key] for key in sorted(records)]


def series(records: Records, name: str) -> tuple[list[float], list[float]]:
    """Updates and values of one number."""
    logged = [record for record in records if name in record]
    return [record[_UPDATES] for record in logged], [record[name] for record in logged]


def _number(value: Any) -> float | None:
    """A number, which fairseq writes as a text, or None."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def in_words(kind: str, record: str, max_update: int, max_epoch: int) -> str:
    """A record of fairseq's for a person.

    Args:
        kind: ``train_inner``, or the name of a validation set; record: as JSON.
        max_update, max_epoch: where the run ends, 0 for no such end.
    """
    values = json.loads(record)
    if kind != "train_inner":
        values = {name[len(kind) + 1 :]: value for name, value in values.items() if name.startswith(f"{kind}_")}
    num_updates = int(float(values[_UPDATES]))
    figures = [f"{shown} {float(values[name]):.4g}" for name, shown in _SHOWN.items() if name in values]
    if kind != "train_inner":
        return ": ".join(filter(None, (f"{kind}, after update {num_updates:,}", ", ".join(figures))))
    if "audio_hours" in values:
        figures.append(f"{float(values['audio_hours']):.4g} h heard")
    if "lr" in values:
        figures.append(f"learning rate {float(values['lr']):.3g}")
    speed, epoch = float(values.get("ups", 0)), float(values.get("update", 0))
    place, left = f"update {num_updates:,}", 0.0
    if max_update > 0:
        place, left = f"{place} of {max_update:,}", max_update - num_updates
    elif max_epoch > 0 and epoch > 0:
        place, left = f"{place}, epoch {epoch:.1f} of {max_epoch}", (max_epoch - epoch) * num_updates / epoch
    if left > 0 and speed > 0:
        place += f", {_duration(left / speed)} left"
    return f"{place}: {', '.join(figures)}"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
