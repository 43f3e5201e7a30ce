"""The numbers in a log of fairseq's, written with ``common.log_format=json``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..system.errors import InputError

# Before the JSON of the quality that a run begins with, under the names of a validation.
START = "quality at the start of the run: "
_RECORD = re.compile(r"\{\"[^{}]*\}")
_UPDATES = "num_updates"

Records = list[dict[str, Any]]


def read_log(path: Path) -> Records:
    """Numbers of training and of validation, in the order of updates.

    A resumed run logs some updates again: the last record of an update and kind counts. What is no record is skipped,
    as is one that a kill has torn.

    Returns:
        fairseq's records, each with ``num_updates`` as float. Names of a validation begin with ``valid_``, whatever its
        set is called; of several sets the first counts.

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
        if START in line:
            records[0.0, True] = {**{f"valid_{name}": value for name, value in record.items()}, _UPDATES: 0.0}
            continue
        prefix = next((name[: -len(_UPDATES)] for name in record if name.endswith(_UPDATES)), None)
        if prefix is None or prefix == "train_":  # the means of an epoch
            continue
        num_updates = float(record[prefix + _UPDATES])
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
    return [record[_UPDATES] for record in logged], [float(record[name]) for record in logged]
