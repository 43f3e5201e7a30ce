"""results.json of `summarymixing evaluate`: the probe, the data and the metrics."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..system.errors import InputError, printable
from ..system.strict_json import to_json

RESULTS_NAME = "results.json"
SCHEMA_VERSION = 1
_NUMBER = (int, float, type(None))
# A file that may come from anyone: bounds far above any that was written. A name is at most as long as a path.
MAX_BYTES = 2**24
MAX_CHARACTERS = 4_096
MAX_ITEMS = 10_000


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
        summary_shares: of each layer, lowest first, how much of its SummaryMixing cell is the summary, 0 to 1; None for
            a layer without ``summary_gate``, and empty where none has one.
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
    summary_shares: list[float | None] = field(default_factory=list)


def as_json(results: Results) -> str:
    """The text of results.json. Numbers that are not finite become null.

    Raises:
        TypeError: for a value that JSON has no form for.
    """
    return to_json({"schema_version": SCHEMA_VERSION, **asdict(results)}, indent=2) + "\n"


def read_results(path: Path) -> Results:
    """Read what ``as_json`` wrote. A null among the metrics' numbers becomes NaN; names are made ``printable``.

    Raises:
        InputError: for a file that is missing, not JSON, of another schema version, lacks a field, or is far larger
            than any that was written.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise InputError(f"{path} has more than {MAX_BYTES:,} bytes: it is not a results file")
        content = json.loads(text.decode("utf-8"))
    except OSError as error:
        raise InputError(f"results {path} cannot be read ({error.strerror}): evaluate the task first") from None
    except InputError:
        raise
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON: evaluate the task again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object: it is not a results file; evaluate the task again")
    version = _field(content, "schema_version", path)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {repr(version)[:40]}, this release reads {SCHEMA_VERSION}: evaluate the task "
            "again, or use the release it was written by"
        )
    return _checked(Results, content, path)


def _checked(hint: Any, value: Any, path: Path, name: str = "") -> Any:
    """A value of the file by the type ``hint``, a null as NaN; ``name``: dotted name of the field that holds it."""
    kind: Any = get_origin(hint) or hint
    is_object = is_dataclass(kind)
    types: Any = _NUMBER if kind is float else dict if is_object else kind
    if not isinstance(value, types):
        raise InputError(f"{path}, field {name}: {repr(value)[:40]} is of the wrong type; evaluate the task again")
    prefix = f"{name}." if name else ""
    if kind is str:
        if len(value) > MAX_CHARACTERS:
            raise InputError(f"{path}, field {name}: {len(value):,} characters, {MAX_CHARACTERS:,} may be")
        return printable(value)
    if kind in (dict, list) and len(value) > MAX_ITEMS:
        raise InputError(f"{path}, field {name}: {len(value):,} entries, {MAX_ITEMS:,} may be")
    if is_object:
        # a field that is younger than the file keeps its default
        younger = {each.name for each in fields(kind) if each.default_factory is not MISSING} - set(value)
        hints = [(f, each) for f, each in get_type_hints(kind).items() if f not in younger]
        return kind(**{f: _checked(each, _field(value, f, path, prefix), path, prefix + f) for f, each in hints})
    if kind is dict and get_args(hint)[1] is not Any:
        names = {_checked(str, key, path, name): inner for key, inner in value.items()}
        return {key: _checked(get_args(hint)[1], inner, path, f"{prefix}{key}") for key, inner in names.items()}
    if kind is list:
        return [_checked(get_args(hint)[0], inner, path, f"{prefix}{number}") for number, inner in enumerate(value)]
    if kind is float and value is not None:
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{path}, field {name}: a number too large; evaluate the task again") from None
    return math.nan if value is None else value


def _field(content: dict[str, Any], name: str, path: Path, prefix: str = "") -> Any:
    if name not in content:
        raise InputError(f"{path} lacks the field {prefix}{name}: it is not a results file; evaluate the task again")
    return content[name]
