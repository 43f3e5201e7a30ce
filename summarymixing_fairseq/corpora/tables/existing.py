"""Manifests and labels that are there, read again."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.errors import InputError

if TYPE_CHECKING:
    from ...data.manifest import Manifest

# Extension of words, which have no dictionary.
WORDS = "wrd"
# What lies beside manifests and is no text, as `shards` and `--bpe` write it.
_NO_TEXT = ("model", "tar", "tsv")


@dataclass(frozen=True)
class Split:
    """A manifest, and the lines of the label files beside it, a line a row, by extension."""

    manifest: Manifest
    labels: Mapping[str, Sequence[str]]


def read_splits(folder: Path, notes: list[str], *, allow_outside_root: bool) -> dict[str, Split]:
    """Every manifest of a folder by its name, with its labels: NAME.wrd, and NAME.KIND of each kind with a dictionary.

    In a folder without any dictionary, as of manifests without a split for training, each NAME.KIND with a line a row
    is labels. `notes` say which files are left out.

    Raises:
        InputError: where there is no manifest, one is none or leads out of its root, or labels do not fit it.
    """
    from ...data.manifest import Manifest, read_labels, splits_of

    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}: give the folder of manifests (SPLIT.tsv)")
    kinds = {path.name[len("dict.") : -len(".txt")] for path in folder.glob("dict.*.txt")}
    splits = {}
    for name in splits_of(folder):
        manifest = Manifest(folder / f"{name}.tsv", allow_outside_root=allow_outside_root)
        labels: dict[str, list[str]] = {}
        for path in sorted(folder.glob(f"{glob.escape(name)}.*")):
            kind = path.name[len(name) + 1 :]
            if kind == WORDS or kind in kinds:
                labels[kind] = read_labels(path, len(manifest))
                continue
            if "." in kind or kind in _NO_TEXT:  # a dot: of another split, or train.nemo.jsonl
                continue
            if kinds:
                notes.append(f"{path} is left out: there is no dict.{kind}.txt")
                continue
            try:
                labels[kind] = read_labels(path, len(manifest))
            except InputError:
                notes.append(f"{path} is left out: it has not a line for each row of its manifest")
        splits[name] = Split(manifest, labels)
    return splits
