"""Files of a corpus: a manifest for each split and, beside it, transcripts, letters, class labels and dictionaries.

DEST/SPLIT.tsv; where there is text SPLIT.wrd, SPLIT.ltr, dict.ltr.txt; for labels of a KIND SPLIT.KIND, dict.KIND.txt.
A split may stand in a folder of its own with others (finetune/train): that folder then has its own dictionaries.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from ...system.errors import InputError
from ..audio.scan import forget_journal
from .writer import (
    Clip,
    Refusal,
    format_dictionary,
    format_manifest,
    format_refusals,
    letters_of,
    printable,
    summarise,
    write_files,
)

# Extension of a file of units (letters, pieces), and how a text is written in them.
Units = Mapping[str, Callable[[str], str]]
LETTERS: Units = {"ltr": letters_of}
# One for all utterances without: there may be millions.
NO_LABELS: Mapping[str, str] = MappingProxyType({})
# The split, in each folder, that dictionaries are made of.
TRAIN = "train"


@dataclass(frozen=True)
class Utterance:
    """A clip, its normalised text where there is one (words parted by single spaces), and its class labels by kind."""

    clip: Clip
    text: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


@dataclass(frozen=True)
class Prepared:
    """A corpus ready to be written.

    Attributes:
        root: folder that the paths of clips are relative to.
        splits: utterances of each split, in the order of their rows; dictionaries are made of `train` alone.
        refusals: what was left out; num_found: clips that the corpus names or holds, whether kept or refused.
        notes: further lines of the summary; files: more files to write, by their names below DEST.
    """

    root: Path
    splits: Mapping[str, Sequence[Utterance]]
    refusals: Sequence[Refusal]
    num_found: int
    notes: Sequence[str] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)


def write_corpus(
    dest: Path,
    corpus: Prepared,
    *,
    sample_rate_hz: int = 16000,
    units: Units = LETTERS,
    max_refused: float | None = None,
    force: bool = False,
) -> str:
    """Write all files of a corpus, all or none, and return the summary to print.

    A split without a clip is not written. `max_refused` is the share of clips found that may be refused.

    Raises:
        InputError: where nothing usable is left, more is refused than allowed, or files exist with other content;
            DEST/refused.tsv is written in any case.
    """
    splits = {name: utterances for name, utterances in corpus.splits.items() if utterances}
    reports = {dest / "refused.tsv": format_refusals(corpus.refusals)}
    problem = _too_many_refused(corpus, splits, max_refused)
    if problem:
        write_files({}, force=force, reports=reports)
        raise InputError(f"{problem}; {dest / 'refused.tsv'} lists all")
    files: dict[Path, str | bytes] = {dest / name: content for name, content in corpus.files.items()}
    notes = [*corpus.notes]
    for folder in sorted({_folder(name) for name in splits}):
        here = {name: utterances for name, utterances in splits.items() if _folder(name) == folder}
        for name, utterances in here.items():
            files[dest / f"{name}.tsv"] = format_manifest(corpus.root, (one.clip for one in utterances))
        lines_by_extension = _label_lines(here, units)
        for extension, lines in lines_by_extension.items():
            files.update({dest / f"{name}.{extension}": _as_text(these) for name, these in lines.items()})
            train = lines.get(folder + TRAIN)
            if train is not None and extension != "wrd":
                files[dest / f"{folder}dict.{extension}.txt"] = format_dictionary(train)
                notes += _unseen(lines, train, extension)
    stale = sorted(path for path in _possible_files(dest, corpus.splits) if path not in files)
    notes += [f"{path} is from an earlier run: delete it if it is not wanted" for path in stale]
    write_files(files, force=force, reports=reports)
    forget_journal(dest)
    clips = {name: [one.clip for one in utterances] for name, utterances in splits.items()}
    return summarise(corpus.num_found, clips, corpus.refusals, sample_rate_hz=sample_rate_hz, notes=notes)


def _possible_files(dest: Path, splits: Mapping[str, Sequence[Utterance]]) -> set[Path]:
    """Files in DEST that look as if they belonged to these splits."""
    named = {path for name in splits for path in dest.glob(f"{name}.*")}
    return named | {path for name in splits for path in dest.glob(f"{_folder(name)}dict.*.txt")}


def _too_many_refused(
    corpus: Prepared, splits: Mapping[str, Sequence[Utterance]], max_refused: float | None
) -> str | None:
    first = corpus.refusals[0] if corpus.refusals else None
    example = f"the first, {printable(first.path)}: {printable(first.reason)}" if first else "none was found"
    if not splits:
        return f"none of {corpus.num_found:,} clips of {corpus.root} is usable; {example}"
    num_refused = len(corpus.refusals)
    if max_refused is not None and num_refused > max_refused * corpus.num_found:
        return (
            f"{num_refused:,} of {corpus.num_found:,} clips refused, more than --max-refused {max_refused:g}; {example}"
        )
    return None


def _folder(split: str) -> str:
    """`finetune/train` -> `finetune/`, `train` -> nothing."""
    return split[: split.rfind("/") + 1]


def _label_lines(splits: Mapping[str, Sequence[Utterance]], units: Units) -> dict[str, dict[str, list[str]]]:
    """Lines of every label file, by extension and split."""
    texts = _of_splits(splits, _texts)
    lines = {"wrd": texts} if texts else {}
    for extension, write in units.items() if texts else ():
        lines[extension] = {name: [write(text) for text in these] for name, these in texts.items()}
    for kind in sorted({kind for utterances in splits.values() for one in utterances for kind in one.labels}):
        lines[kind] = _of_splits(splits, functools.partial(_labels, kind))
    return lines


def _of_splits(
    splits: Mapping[str, Sequence[Utterance]], lines_of: Callable[[str, Sequence[Utterance]], list[str] | None]
) -> dict[str, list[str]]:
    """Lines of each split that has any."""
    lines = {name: lines_of(name, utterances) for name, utterances in splits.items()}
    return {name: these for name, these in lines.items() if these is not None}


def _texts(split: str, utterances: Sequence[Utterance]) -> list[str] | None:
    """Texts of a split, or None where it has none."""
    texts = [one.text for one in utterances]
    if all(text is None for text in texts):
        return None
    for one in utterances:
        if not one.text or one.text != " ".join(one.text.split()):
            raise InputError(f"{split}: {one.clip.path} has the text {one.text!r}: words and single spaces are needed")
    return texts


def _labels(kind: str, split: str, utterances: Sequence[Utterance]) -> list[str] | None:
    """Labels of one kind, or None where a split has none."""
    labels = [one.labels.get(kind) for one in utterances]
    if all(label is None for label in labels):
        return None
    for one, label in zip(utterances, labels):
        if not label or label.split() != [label]:
            raise InputError(f"{split}: {one.clip.path} has the {kind} {label!r}: one word is needed")
    return labels


def _as_text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _unseen(lines: Mapping[str, Sequence[str]], train: Sequence[str], extension: str) -> list[str]:
    """Notes on symbols of other splits that the dictionary, which is made of train, does not hold."""
    known = {symbol for line in train for symbol in line.split()}
    notes = []
    for name, these in lines.items():
        counts = Counter(symbol for line in these for symbol in set(line.split()) - known)
        if counts:
            named = ", ".join(f"{symbol} ({count})" for symbol, count in sorted(counts.items())[:8])
            notes.append(f"{name}: not in dict.{extension}.txt, as train lacks them (rows with them): {named}")
    return notes
