"""Units of clips as text: a line a clip, in the manifest's order, as fairseq's HuBERT reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..system.errors import InputError

DICTIONARY_NAME = "dict.km.txt"


def names(split: str) -> list[str]:
    """Of the files of a split: units, and with runs made one these and their durations."""
    return [f"{split}.{extension}" for extension in ("km", "runs", "durations")]


def runs(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of one unit made one: (T,) -> (R,) units and (R,) frames of each."""
    starts = np.flatnonzero(np.diff(units, prepend=-1))  # no unit is -1
    return units[starts], np.diff(starts, append=len(units))


def unit_texts(clips: Sequence[np.ndarray], split: str, collapse: bool) -> dict[str, str]:
    """Texts by the names of their files.

    Args:
        clips: (T,) units of each clip, in the manifest's order.
        collapse: also with runs made one, and in a file beside it how many frames each took.
    """
    rows: list[Iterable[np.ndarray]] = [clips]
    if collapse:
        rows += zip(*map(runs, clips))
    return {name: _lines(these) for name, these in zip(names(split), rows)}


def _lines(rows: Iterable[np.ndarray]) -> str:
    return "".join(f"{' '.join(map(str, row.tolist()))}\n" for row in rows)


def dictionary_text(num_units: int) -> str:
    """fairseq's dictionary of all units, used or not, in their order: symbol and count, which HuBERT does not use."""
    return "".join(f"{unit} 1\n" for unit in range(num_units))


def check_dictionary(path: Path, num_units: int) -> None:
    """Check that a folder's dictionary, if it has one, is of as many units: splits of a folder share it.

    Raises:
        InputError: if it is not, or cannot be read.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if text != dictionary_text(num_units).encode():
        raise InputError(
            f"{path} is not of {num_units} units, and the splits of a folder share it: choose another place, or "
            "overwrite it by --force"
        )
