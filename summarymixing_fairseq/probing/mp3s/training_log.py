"""Progress of a training, read from fairseq's JSON log lines while they are written."""

from __future__ import annotations

import json
from pathlib import Path


class TrainingLog:
    """The latest figures in the log of a training that runs.

    Args:
        path: of the log; what it holds already is skipped. metric: its name in results.json, e.g. ``wer``.
    """

    def __init__(self, path: Path, metric: str):
        self._path = path
        self._metric = metric
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self._latest: dict[str, str] = {}

    def read(self) -> None:
        """Read what has been written since the last call."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._position)
                new = file.read()
        except OSError:
            return
        self._position += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        for line in lines:
            start = line.find(b'{"epoch"')
            if start < 0:
                continue
            try:
                self._latest.update(json.loads(line[start:]))
            except ValueError:
                continue

    def describe(self) -> str:
        """Epoch, loss and validation metric, as far as they are known."""
        latest = self._latest
        if "epoch" not in latest:
            return "starting"
        parts = [f"epoch {latest['epoch']}"]
        for key, label in (
            ("loss", "loss"),
            (f"valid_{self._metric}", f"valid {self._metric}"),
            (f"valid_best_{self._metric}", "best"),
        ):
            if key in latest:
                parts.append(f"{label} {latest[key]}")
        if f"valid_{self._metric}" not in latest and "valid_accuracy" in latest:
            parts.append(f"valid accuracy {latest['valid_accuracy']}")
        return ", ".join(parts)
