"""Several manifests as one: the same splits and labels, rows below the folder that all of their audio has in common.

summarymixing manifest join DATA_A DATA_B ... --dest DIR [--weights 3 1]

Each DATA is a folder of manifests. A split, as train or valid, holds the rows of all of them that have one of that
name. Every task trains on the result, and no links are needed. --weights repeats the train rows of each DATA so many
times, one after the other: an epoch then holds each so many times. DIR/joined.txt lists weights and folders.

Words, letters, phones and classes are joined where all of a split have them, dictionaries made of the joined train;
pieces (bpeN) where all have the same bpeN.model. Audio that several DATA hold, by its path or by its content, is kept
once: in test, else in valid, else in train, of the first DATA; the other rows are refused by name. Headers are read
again, and files that cannot be used are refused.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..system.errors import InputError
from ..system.tables import tsv_rows
from ..system.units import SAMPLE_RATE_HZ
from .audio.parts import Part, read_parts
from .tables.existing import Split, read_splits
from .writing.corpus import TRAIN, Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions, positive_int
from .writing.rows import Clip, Refusal, link_problem


@dataclass(frozen=True)
class _Entry:
    """A row of one of the manifests: where it is from, its file without links, and its labels by kind."""

    source: int
    split: str
    path: str
    clip: Clip
    labels: Mapping[str, str]


def prepare(root: Sequence[Path], options: ManifestOptions, *, weights: Sequence[int] = ()) -> Prepared:
    """The rows of all manifests.

    Args:
        root: folders of manifests, two or more. weights: how many times each one's rows are in train.

    Raises:
        InputError: for a folder without manifests, labels that do not fit, or weights that are not as many as folders.
    """
    from ..data.manifest_check import JOINED

    if weights and len(weights) != len(root):
        raise InputError(f"--weights: {len(weights)} for {len(root)} folders: give one for each")
    notes: list[str] = []
    sources = [read_splits(folder, notes, allow_outside_root=options.rules.allow_outside_root) for folder in root]
    if len({os.path.realpath(folder) for folder in root}) < max(2, len(root)):
        raise InputError("give two or more folders of manifests, each once")
    names = sorted({name for source in sources for name in source}, key=lambda name: (_rank(name), name))
    refusals: list[Refusal] = []
    models = _models(root, sources)
    kinds = {name: _kinds(name, root, sources, models, notes) for name in names}
    wanted: list[tuple[int, str, str, Part, dict[str, str]]] = []
    for name in names:
        for number, source in enumerate(sources):
            if name in source:
                wanted += _rows(number, name, source[name], kinds[name], options, refusals)
    if not wanted:
        raise InputError(f"no row of {', '.join(map(str, root))} can be joined; the first: {refusals[0].reason}")
    common = Path(os.path.commonpath({os.path.dirname(path) for _, _, path, _, _ in wanted}))
    check_existing(options, common)
    parts = [Part(os.path.relpath(path, common), part.start, part.end) for _, _, path, part, _ in wanted]
    clips = read_parts(common, parts, options, refusals)
    entries = [
        _Entry(number, name, path, clip, labels)
        for (number, name, path, _, labels), clip in zip(wanted, clips)
        if clip is not None
    ]
    entries = _without_duplicates(entries, root, refusals)
    splits: dict[str, list[Utterance]] = {name: [] for name in names}
    for one in entries:
        times = weights[one.source] if weights and one.split == TRAIN else 1
        splits[one.split] += [Utterance(one.clip, labels=one.labels)] * times
    for number, folder in enumerate(root):
        of_train = [one for one in entries if one.source == number and one.split == TRAIN]
        hours = sum(one.clip.num_samples for one in of_train) / SAMPLE_RATE_HZ / 3600
        repeated = f", {weights[number]} times" if weights else ""
        notes.append(f"train has {len(of_train):,} clips, {hours:.2f} h, of {folder}{repeated}")
    files: dict[str, str | bytes] = {
        f"{kind}.model": model
        for kind in {kind for these in kinds.values() for kind in these}
        if (model := models[kind][0]) is not None
    }
    files[JOINED] = tsv_rows((weights[n] if weights else 1, os.path.abspath(folder)) for n, folder in enumerate(root))
    return Prepared(common, splits, refusals, len(entries) + len(refusals), notes, files)


def _rank(split: str) -> int:
    """Which split keeps a clip that several have: test, valid, others, train."""
    return 3 if split == TRAIN else 0 if split.startswith("test") else 1 if split == "valid" else 2


def _models(root: Sequence[Path], sources: Sequence[Mapping[str, Split]]) -> dict[str, list[bytes | None]]:
    """By kind of labels, the model of its pieces in each folder that has such labels in any split; None: no pieces."""
    models: dict[str, list[bytes | None]] = {}
    for folder, source in zip(root, sources):
        for kind in {kind for split in source.values() for kind in split.labels}:
            path = folder / f"{kind}.model"
            models.setdefault(kind, []).append(path.read_bytes() if path.is_file() else None)
    return models


def _kinds(
    name: str,
    root: Sequence[Path],
    sources: Sequence[Mapping[str, Split]],
    models: Mapping[str, Sequence[bytes | None]],
    notes: list[str],
) -> list[str]:
    """Kinds of labels that all manifests of a split have, of the same pieces wherever they are."""
    having = [(folder, source[name].labels) for folder, source in zip(root, sources) if name in source]
    kept = []
    for kind in sorted({kind for _, labels in having for kind in labels}):
        lacking = [folder for folder, labels in having if kind not in labels]
        if lacking:
            notes.append(f"{name}.{kind} is not joined: {lacking[0]} has none")
        elif len(set(models[kind])) > 1:
            notes.append(f"{name}.{kind} is not joined: the pieces are of other models ({kind}.model)")
        else:
            kept.append(kind)
    return kept


def _rows(
    number: int, name: str, split: Split, kinds: Sequence[str], options: ManifestOptions, refusals: list[Refusal]
) -> Iterator[tuple[int, str, str, Part, dict[str, str]]]:
    """Of each row: source, split, file without links to folders, part, labels."""
    from ..data.manifest import archive_and_position

    real_root = os.path.realpath(split.manifest.root)
    for position, clip in enumerate(split.manifest):
        file_of = archive_and_position(os.path.join(real_root, clip.name))[0]
        if not options.rules.allow_outside_root and (problem := link_problem(file_of, real_root)):
            refusals.append(Refusal(clip.name, problem))
            continue
        folder, file = os.path.split(os.path.join(real_root, clip.name))
        path = os.path.join(os.path.realpath(folder), file)
        end = None if clip.offset is None else clip.offset + clip.num_samples
        labels = {kind: split.labels[kind][position] for kind in kinds}
        empty = [kind for kind, line in labels.items() if not line.strip()]
        if empty:
            refusals.append(Refusal(clip.name, f"empty line of .{empty[0]}"))
        else:
            yield number, name, path, Part(path, clip.offset, end), {k: " ".join(v.split()) for k, v in labels.items()}


def _without_duplicates(entries: Sequence[_Entry], root: Sequence[Path], refusals: list[Refusal]) -> list[_Entry]:
    """Entries without audio that an earlier one of another manifest has."""
    content_of = _content(entries)
    taken: dict[str, list[tuple[int, float, _Entry]]] = defaultdict(list)
    kept: list[_Entry] = []
    for one in entries:
        start = one.clip.offset or 0
        end = start + one.clip.num_samples
        same_file = taken[content_of[one.path]]
        other = next(
            (
                before
                for begin, stop, before in same_file
                if begin < end and start < stop and before.source != one.source
            ),
            None,
        )
        if other is None:
            same_file.append((start, end, one))
            kept.append(one)
        else:
            what = f"{root[other.source]}, {other.split}: {other.path}"
            refusals.append(Refusal(one.path, "audio is in another manifest too", what))
    return kept


def _content(entries: Sequence[_Entry]) -> dict[str, str]:
    """What tells the content of each file: its hash where files of two manifests have one size, else its path."""
    from ..data.clips import sha256_of_clip
    from ..data.manifest import Clip as ManifestClip
    from ..data.manifest import archive_and_position

    sources: dict[str, set[int]] = defaultdict(set)
    for one in entries:
        sources[one.path].add(one.source)
    alike: dict[int, list[str]] = defaultdict(list)
    for path in sources:
        archive, position = archive_and_position(path)
        alike[int(position.rpartition(":")[2]) if position else os.stat(archive).st_size].append(path)
    content = {path: os.path.realpath(path) for path in sources}
    for paths in alike.values():
        if len(set().union(*(sources[path] for path in paths))) > 1 and len(paths) > 1:
            content.update({path: sha256_of_clip(ManifestClip(Path(path), path)) for path in paths})
    return content


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="DATA", type=Path, nargs="+", help="folders of manifests")
    parser.add_argument(
        "--weights", type=positive_int, nargs="+", metavar="N", help="how many times each one's rows are in train"
    )
