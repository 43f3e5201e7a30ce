"""Label files beside a manifest: transcripts, letters or pieces, classes, and fairseq's dictionaries of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ...system.errors import InputError
from .rows import Clip

# How a text is written in units (letters, pieces), by the extension of the label file.
Units = Mapping[str, Callable[[str], str]]
# Shared by all utterances without labels: there may be millions.
NO_LABELS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Utterance:
    """A clip, its normalised text where there is one, and its labels by kind: words with single spaces between."""

    clip: Clip
    text: str | None = None
    labels: Mapping[str, str] = field(default_factory=lambda: NO_LABELS)


def letters_of(words: str) -> str:
    """`HELLO WORLD` becomes `H E L L O | W O R L D |`, as in fairseq's .ltr files."""
    return " ".join("|".join(words.split()) + "|")


LETTERS: Units = {"ltr": letters_of}


def format_dictionary(lines: Iterable[str]) -> str:
    """The text of dict.KIND.txt: `<symbol> <count>`, the most frequent first, then in order of symbols."""
    counts = Counter(symbol for line in lines for symbol in line.split())
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "".join(f"{symbol} {count}\n" for symbol, count in ordered)


def label_lines(splits: Mapping[str, Sequence[Utterance]], units: Units) -> dict[str, dict[str, list[str]]]:
    """Lines of every label file, by extension and then by split; splits without such labels are left out.

    Raises:
        InputError: where only some utterances of a split have a label, or one cannot be written as a line.
    """
    texts = _lines(splits, "text", lambda one: one.text)
    lines = {"wrd": texts} if texts else {}
    for extension, write in units.items() if texts else ():
        lines[extension] = {split: [write(text) for text in these] for split, these in texts.items()}
    for kind in sorted({kind for utterances in splits.values() for one in utterances for kind in one.labels}):
        lines[kind] = _lines(splits, kind, lambda one: one.labels.get(kind))  # noqa: B023 (called here)
    return lines


def _lines(
    splits: Mapping[str, Sequence[Utterance]], kind: str, label_of: Callable[[Utterance], str | None]
) -> dict[str, list[str]]:
    """Labels of each split that has any."""
    lines: dict[str, list[str]] = {}
    for split, utterances in splits.items():
        labels = [label_of(one) for one in utterances]
        if all(label is None for label in labels):
            continue
        lines[split] = []
        for one, label in zip(utterances, labels):
            if not label or label != " ".join(label.split()):
                rule = "words and single spaces are needed"
                raise InputError(f"{split}: {one.clip.path} has the {kind} {label!r}: {rule}")
            lines[split].append(label)
    return lines


def unseen_notes(lines: Mapping[str, Sequence[str]], train: Sequence[str], extension: str) -> list[str]:
    """Notes on symbols that some split has and the dictionary, which is made of train, does not."""
    known = {symbol for line in train for symbol in line.split()}
    notes = []
    for name, these in lines.items():
        counts = Counter(symbol for line in these for symbol in set(line.split()) - known)
        if counts:
            named = ", ".join(f"{symbol} ({count})" for symbol, count in sorted(counts.items())[:8])
            notes.append(f"{name}: not in dict.{extension}.txt, as train lacks them (rows with them): {named}")
    return notes
