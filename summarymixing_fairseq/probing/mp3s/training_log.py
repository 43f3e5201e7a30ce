"""Progress of a training, read from fairseq's JSON log lines."""

from __future__ import annotations

import json
from pathlib import Path


def progress(path: Path, start: int, metric: str) -> str:
    """Epoch, loss and validation metric, as far as a log tells them.

    Args:
        path: of the log; start: number of bytes to skip, which are of earlier runs.
        metric: its name in results.json, e.g. ``wer``.
    """
    latest: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            file.seek(start)
            lines = file.read().splitlines()
    except OSError:
        lines = []
    for line in lines:
        begin = line.find(b'{"epoch"')
        try:
            latest.update(json.loads(line[begin:]) if begin >= 0 else {})
        except ValueError:  # the last line is still being written
            continue
    if "epoch" not in latest:
        return "starting"
    valid = f"valid_{metric}"
    if valid not in latest:  # tasks of several metrics may log accuracy alone
        valid = "valid_accuracy"
    parts = {"epoch": "epoch", "loss": "loss", valid: valid.replace("_", " "), f"valid_best_{metric}": "best"}
    return ", ".join(f"{label} {latest[key]}" for key, label in parts.items() if key in latest)
