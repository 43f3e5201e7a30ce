"""Which reader a file or folder is for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ...system.errors import InputError
from ..writing.options import ManifestOptions
from ..writing.rows import Refusal
from .delimited import read_delimited
from .folders import KALDI_AUDIO, read_kaldi, read_texts_beside
from .json_lines import read_json_lines
from .table import Table

_IN_A_FOLDER = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_JSON_ENDINGS = (".jsonl", ".json", ".ndjson", ".jsonl.gz", ".json.gz", ".ndjson.gz")
_DELIMITED_ENDINGS = (".csv", ".tsv", ".txt")


def read_table(
    path: Path,
    options: ManifestOptions,
    is_header: Callable[[list[str]], bool],
    refusals: list[Refusal],
    passed_over: Counter[str],
) -> Table:
    """Read a table by what its name ends in, or a folder by what is in it.

    Args:
        is_header: as in ``read_delimited``; passed_over: as in ``find_audio``.

    Raises:
        InputError: for what is missing, cannot be read, or is no table.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: give a table, or a folder with one")
    if path.is_dir():
        if (path / KALDI_AUDIO).is_file():
            return read_kaldi(path, refusals)
        inside = [path / name for name in _IN_A_FOLDER if (path / name).is_file()]
        if not inside:
            return read_texts_beside(path, options, refusals, passed_over)
        path = inside[0]
    if path.name.lower().endswith(_JSON_ENDINGS):
        return read_json_lines(path, refusals)
    if path.name.lower().endswith(_DELIMITED_ENDINGS):
        return read_delimited(path, is_header, refusals)
    raise InputError(
        f"{path}: no table by its ending: {', '.join((*_DELIMITED_ENDINGS, *_JSON_ENDINGS))}, or a folder, are read"
    )
