"""results.json of `summarymixing evaluate`: the probe, the data and the metrics."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from ..system.errors import InputError

RESULTS_NAME = "results.json"
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
        versions: of the software it was computed with (``installed_versions``), and the precision if not float32.
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
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object: it is not a results file; evaluate the task again")
    version = _field(content, "schema_version", int, path)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}, this release reads {SCHEMA_VERSION}: evaluate the task again, or "
            "use the release it was written by"
        )
    results = _object(Results, content, path)
    weights = content["layer_weights"]
    if not all(isinstance(weight, _NUMBER) for weight in weights):
        raise InputError(f"{path}, field layer_weights: not all are numbers; evaluate the task again")
    metrics = {name: _field(content["metrics"], name, dict, path, "metrics.") for name in content["metrics"]}
    return replace(
        results,
        encoder=_object(EncoderSource, content["encoder"], path, "encoder."),
        data=_object(EvaluationData, content["data"], path, "data."),
        metrics={name: _object(Metric, metric, path, f"metrics.{name}.") for name, metric in metrics.items()},
        layer_weights=[math.nan if weight is None else weight for weight in weights],
    )


_NUMBER = (int, float, type(None))


def _object(kind: type, content: dict[str, Any], path: Path, prefix: str = "") -> Any:
    """A dataclass, its fields checked by their types; those of fields that are dataclasses themselves come later."""
    values = {}
    for name, hint in get_type_hints(kind).items():
        types = _NUMBER if hint is float else dict if is_dataclass(hint) else get_origin(hint) or hint
        values[name] = _field(content, name, types, path, prefix)
    return kind(**values)


def _field(content: dict[str, Any], name: str, types: Any, path: Path, prefix: str = "") -> Any:
    """A field of the file, a null as NaN; ``prefix``: dotted name of the object that holds the field."""
    if name not in content:
        raise InputError(f"{path} lacks the field {prefix}{name}: it is not a results file; evaluate the task again")
    value = content[name]
    if not isinstance(value, types):
        shown = repr(value)[:40]
        raise InputError(f"{path}, field {prefix}{name}: {shown} is of the wrong type; evaluate the task again")
    return math.nan if value is None else value


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
