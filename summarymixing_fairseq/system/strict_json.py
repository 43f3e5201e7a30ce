"""JSON as any strict reader takes it, for all that commands and scripts write to be read by others."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_json(value: Any, indent: int | None = None) -> str:
    """The text of a value, in valid UTF-8: null for NaN and infinity, which JSON has no numbers for.

    Args:
        value: nested dictionaries, lists and tuples of what JSON has, numpy's numbers and arrays, and paths.
        indent: spaces of each level; None: all on one line.

    Raises:
        TypeError: for a value that JSON has no form for.
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_plain(str(key)): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (str, Path)):
        # names of files may hold bytes that are no UTF-8
        return str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    return value
