"""results.json of `summarymixing evaluate`: the probe, the data and the metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..system.errors import InputError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Metric:
    """A number with its 95 % interval, all in ``unit`` ("%", or "" for none). NaN: not defined."""

    value: float
    low: float
    high: float
    unit: str


@dataclass(frozen=True)
class EncoderSource:
    """The encoder that was probed: ``path`` as the user gave it, ``sha256`` of the file, in hexadecimal."""

    name: str
    description: str
    path: str
    sha256: str


@dataclass(frozen=True)
class EvaluationData:
    """What was scored: ``counts`` of clips, hours, and what the task has of classes, speakers, trials, words."""

    folder: str
    split: str
    counts: dict[str, float]


@dataclass(frozen=True)
class Results:
    """Results of one probe.

    Attributes:
        task, head: names; checkpoint: path of the probe; config: of its training, in plain containers.
        metrics: by name; layer_weights: of the hidden states, encoder input first, after the softmax.
        versions: of the software it was computed with (``installed_versions``).
    """

    task: str
    head: str
    encoder: EncoderSource
    checkpoint: str
    config: dict[str, Any]
    data: EvaluationData
    seed: int
    metrics: dict[str, Metric]
    layer_weights: list[float]
    versions: dict[str, str]


def as_json(results: Results) -> str:
    """The text of results.json. Numbers that are not finite become null.

    Raises:
        TypeError: for a value that JSON has no form for.
    """
    content = {"schema_version": SCHEMA_VERSION, **asdict(results)}
    return json.dumps(_plain(content), indent=2, allow_nan=False) + "\n"


def read_results(path: Path) -> Results:
    """Read what ``as_json`` wrote. A null among the metrics' numbers becomes NaN.

    Raises:
        InputError: for a file that is missing, not JSON, of another schema version, or lacks a field.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"results {path} cannot be read ({error.strerror}): evaluate the task first") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON: evaluate the task again") from None
    fields = _Fields(path, content)
    version = fields.get("schema_version", int)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, this release reads {SCHEMA_VERSION}: evaluate the task again, or "
            "use the release it was written by"
        )
    encoder, data, metrics = (fields.inner(name) for name in ("encoder", "data", "metrics"))
    return Results(
        task=fields.get("task", str),
        head=fields.get("head", str),
        encoder=EncoderSource(*(encoder.get(name, str) for name in ("name", "description", "path", "sha256"))),
        checkpoint=fields.get("checkpoint", str),
        config=fields.get("config", dict),
        data=EvaluationData(data.get("folder", str), data.get("split", str), data.get("counts", dict)),
        seed=fields.get("seed", int),
        metrics={name: _metric(metrics.inner(name)) for name in metrics.content},
        layer_weights=_layer_weights(fields),
        versions=fields.get("versions", dict),
    )


@dataclass(frozen=True)
class _Fields:
    """A JSON object of the file, with its name for messages ("" for the outermost)."""

    path: Path
    content: Any
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.content, dict):
            what = f"field {self.name} is" if self.name else "is"
            raise InputError(f"{self.path} {what} no JSON object: it is not a results file; evaluate the task again")

    def get(self, name: str, kind: type | tuple[type, ...]) -> Any:
        full = f"{self.name}.{name}" if self.name else name
        if name not in self.content:
            raise InputError(f"{self.path} lacks the field {full}: it is not a results file; evaluate the task again")
        if not isinstance(self.content[name], kind):
            shown = repr(self.content[name])[:40]
            raise InputError(f"{self.path}, field {full}: {shown} is of the wrong type; evaluate the task again")
        return self.content[name]

    def inner(self, name: str) -> _Fields:
        return _Fields(self.path, self.get(name, dict), f"{self.name}.{name}" if self.name else name)


def _metric(fields: _Fields) -> Metric:
    value, low, high = (_number(fields.get(name, (int, float, type(None)))) for name in ("value", "low", "high"))
    return Metric(value, low, high, fields.get("unit", str))


def _layer_weights(fields: _Fields) -> list[float]:
    weights = fields.get("layer_weights", list)
    if not all(isinstance(weight, (int, float, type(None))) for weight in weights):
        raise InputError(f"{fields.path}, field layer_weights: not all are numbers; evaluate the task again")
    return [_number(weight) for weight in weights]


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: numpy's types as Python's, paths as text, numbers that are not finite as None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
