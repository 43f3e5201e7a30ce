"""What a training run would otherwise die of without saying why: manifests, labels and batch limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .manifest import iterate_rows, read_labels


def check_data_folder(data_dir: str) -> None:
    """Raises InputError if there is no such folder."""
    if not Path(data_dir).is_dir():
        raise InputError(f"task.data={data_dir}: no such folder; it must hold the manifests (train.tsv, valid.tsv)")


def check_manifest(data_dir: str, split: str) -> int:
    """Check a split's manifest and return its number of rows.

    Raises:
        InputError: for a manifest that is missing, empty or malformed, or whose root or first clip does not exist.
    """
    path = Path(data_dir) / f"{split}.tsv"
    rows = iterate_rows(path)
    root = Path(next(rows)[0])
    first = next(rows, None)
    if first is None:
        raise InputError(f"manifest {path} has no row: is the audio folder it was made from empty?")
    # Rows may point into a stored zip as FILE.zip:OFFSET:LENGTH, which fairseq reads
    if not (root / first[0].split(":")[0]).exists() and not (root / first[0]).exists():
        raise InputError(
            f"{path}: first clip {root / first[0]} does not exist; has the audio moved? Line 1 names its root"
        )
    return 1 + sum(1 for _ in rows)


def check_labels(data_dir: str, split: str, extension: str | None, dictionary: Any) -> None:
    """Check a split's labels against its manifest and dictionary (fairseq's ``Dictionary``, or None).

    Raises:
        InputError: for labels that are missing or do not match the rows, or a symbol that the dictionary lacks.
    """
    if extension is None:
        raise InputError("task.labels is not set: name the extension of the label files (ltr)")
    path = Path(data_dir) / f"{split}.{extension}"
    labels = read_labels(path, sum(1 for _ in iterate_rows(Path(data_dir) / f"{split}.tsv")) - 1)
    if dictionary is None:
        return
    for number, line in enumerate(labels, start=1):
        for symbol in line.split():
            if symbol not in dictionary:
                raise InputError(
                    f"{path}, line {number}: {symbol!r} is not in dict.{extension}.txt; add it there before training, "
                    "or take it out of the labels"
                )


def check_batch_limit(dataset: Any, max_tokens: int | None) -> None:
    """fairseq fails with a bare assertion on a clip longer than a batch may be.

    Raises:
        InputError: naming the limit and the longest clip.
    """
    sizes = np.asarray(getattr(dataset, "sizes", []))
    if max_tokens and sizes.size and sizes.max() > max_tokens:
        raise InputError(
            f"dataset.max_tokens={max_tokens} samples is less than the longest clip ({int(sizes.max())} samples, "
            f"{sizes.max() / 16_000:.1f} s): raise it, crop by task.max_sample_size={max_tokens}, or leave longer "
            "clips out (--max-seconds when making the manifest)"
        )
