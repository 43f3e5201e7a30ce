"""Manifests and labels that are there, read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.errors import InputError

if TYPE_CHECKING:
    from ...data.manifest import Manifest

# Extension of words, which have no dictionary.
WORDS = "wrd"


@dataclass(frozen=True)
class Split:
    """A manifest, and the lines of the label files beside it, a line a row, by extension."""

    manifest: Manifest
    labels: Mapping[str, Sequence[str]]


def read_splits(folder: Path, *, allow_outside_root: bool) -> dict[str, Split]:
    """Every manifest of a folder by its name, with words and the labels that have a dictionary there.

    Raises:
        InputError: where there is no manifest, one is none, leads out of its root, or labels do not fit it.
    """
    from ...data.manifest import Manifest, read_labels, splits_of

    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}: give the folder of manifests (SPLIT.tsv)")
    kinds = [WORDS, *sorted(path.name[len("dict.") : -len(".txt")] for path in folder.glob("dict.*.txt"))]
    splits = {}
    for name in splits_of(folder):
        manifest = Manifest(folder / f"{name}.tsv", allow_outside_root=allow_outside_root)
        paths = {kind: folder / f"{name}.{kind}" for kind in kinds}
        labels = {kind: read_labels(path, len(manifest)) for kind, path in paths.items() if path.exists()}
        splits[name] = Split(manifest, labels)
    return splits
