"""JSON lines: one object a line, as NeMo's manifests, and lhotse's cuts; compressed by gzip where the name says so.

Of an object every string, number and truth value is a cell. A cut of lhotse is a row for each of its supervisions, with
the columns id, audio, text, speaker, language, start, duration and those of `custom`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ...system.strict_json import to_json
from ..writing.rows import Refusal
from .table import Row, Table

# What is compressed may unfold to anything.
_MAX_LINE_BYTES = 2**24


def read_json_lines(path: Path, refusals: list[Refusal]) -> Table:
    """Read a file; lines that hold no object, and cuts that are no stretch of one file, are added to `refusals`.

    Raises:
        InputError: for a file that cannot be read.
    """
    rows: list[Row] = []
    for where, found in json_objects(path, refusals):
        if "recording" in found and str(found.get("type", "MonoCut")).endswith("Cut"):
            rows += _rows_of_cut(where, found, refusals)
        else:
            rows.append(Row(where, _cells(found)))
    columns = dict.fromkeys(column for row in rows for column in row.cells)
    return Table(list(columns), rows, path.parent)


def json_objects(path: Path, refusals: list[Refusal]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of each line; those that hold no object are added to `refusals`.

    Raises:
        InputError: for a file that cannot be read.
    """
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{path.name} line {number}"
        try:
            found = json.loads(line)  # as bytes: it takes off a byte order mark
            _check_characters(found)
        except UnicodeError:
            refusals.append(Refusal(where, "line with characters that are no Unicode"))
        except (ValueError, RecursionError) as error:
            refusals.append(Refusal(where, "line is not JSON", str(error)))
        else:
            if isinstance(found, dict):
                yield where, found
            else:
                refusals.append(Refusal(where, "line is no JSON object"))


def _check_characters(value: Any) -> None:
    """Raises UnicodeError for a text with half of a surrogate pair, which JSON's escapes can spell."""
    if isinstance(value, str):
        value.encode("utf-8")
    elif isinstance(value, dict):
        _check_characters([*value, *value.values()])
    elif isinstance(value, list):
        for one in value:
            _check_characters(one)


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else open(path, "rb") as file:
            while line := file.readline(_MAX_LINE_BYTES + 1):
                if len(line) > _MAX_LINE_BYTES:
                    raise InputError(f"{path} has a line of more than {_MAX_LINE_BYTES:,} bytes: are these JSON lines?")
                yield line
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _cells(found: Mapping[str, Any]) -> dict[str, str]:
    """What is no list, object or null, as text."""
    return {
        name: to_json(value) if isinstance(value, (bool, int, float)) else value.strip()
        for name, value in found.items()
        if isinstance(value, (bool, int, float, str))
    }


def _rows_of_cut(where: str, cut: Mapping[str, Any], refusals: list[Refusal]) -> Iterator[Row]:
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut"):
        refusals.append(Refusal(where, f"cut of type {kind}: save its audio first (save_audios)"))
        return
    try:
        recording = cut["recording"]
        (source,) = recording["sources"]
        if source["type"] != "file":
            refusals.append(Refusal(where, f"audio of a cut is no file but of type {source['type']}"))
            return
        if kind == "MonoCut" and len(source.get("channels") or [0]) > 1:
            refusals.append(Refusal(where, "cut of one channel of several: save its audio first (save_audios)"))
            return
        # the times of the cut are those of the changed recording, and not of the file
        if any(one["name"] != "Resample" for one in recording.get("transforms") or []):
            refusals.append(Refusal(where, "cut of a recording with transforms: save its audio first (save_audios)"))
            return
        audio = {"audio": str(source["source"])}
        start, duration = float(cut["start"]), float(cut["duration"])
        is_whole = start == 0 and abs(duration - float(recording["duration"])) < 1e-3
        supervisions = cut.get("supervisions") or []
        if not supervisions:
            times = {} if is_whole else {"start": repr(start), "duration": repr(duration)}
            yield Row(where, {"id": str(cut.get("id", "")), **audio, **times})
        for one in supervisions:
            begin, length = float(one["start"]), float(one["duration"])
            whole = is_whole and begin == 0 and abs(length - duration) < 1e-3
            times = (
                {} if whole else {"start": repr(start + max(begin, 0.0)), "duration": repr(length + min(begin, 0.0))}
            )
            told = {key: one.get(key) for key in ("id", "text", "speaker", "language")}
            yield Row(where, {**_cells(one.get("custom") or {}), **_cells(told), **audio, **times})
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        refusals.append(Refusal(where, "cut of lhotse without what a cut has", f"{type(error).__name__}: {error}"))
