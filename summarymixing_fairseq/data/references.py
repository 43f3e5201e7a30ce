"""What the symbols of a CTC model stand for, and the references that its output is compared with."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.errors import InputError
from .manifest import read_labels

# What marks the words in a file of labels, by ``criterion.post_process``. The other schemes mark none.
POST_PROCESS = {
    "letter": "|",
    "sentencepiece": "\u2581",
    "wordpiece": "_",
    "_EOW": "_EOW",
    "subword_nmt": "@@",
    "@@ ": "@@",
    "@@": "@@",
    "silence": None,
    "none": None,
}
# Usual extensions of phonetic labels. A phonetic label file may have marks of words too, but spells no words.
_PHONES = ("phn", "phone", "phones", "ipa")


@dataclass(frozen=True)
class Symbols:
    """A model's symbols, as its training had them.

    Attributes:
        labels: extension of the label files; post_process: how symbols become text, "none" where they spell no words.
        unit: what stands between the spaces of that text: "word", "phone", "letter", "character", "piece", or labels.
    """

    labels: str
    post_process: str
    unit: str

    def units_of(self, symbols: Sequence[str]) -> list[tuple[str, int, int]]:
        """Units that a sequence of symbols spells: the text of each, its first symbol, and the one after its last.

        Marks of words belong to no unit. The text is that of fairseq's ``post_process``.
        """
        units: list[tuple[str, int, int]] = []
        text, first, end = "", 0, 0
        for place, symbol in enumerate([*symbols, " "]):
            for part in re.split(r"(\s+)", self.written(symbol)):
                if part and not part.isspace():
                    text, first, end = text + part, first if text else place, place + 1
                elif part and text:
                    units.append((text, first, end))
                    text = ""
        return units

    def written(self, symbol: str) -> str:
        """What a symbol adds to the text, a space where a unit ends."""
        mark = POST_PROCESS[self.post_process]
        if self.post_process in ("letter", "sentencepiece", "wordpiece", "_EOW"):
            return symbol.replace(str(mark), " ")
        if self.post_process == "@@":
            return f"{symbol} ".replace("@@", "")
        if self.post_process in ("subword_nmt", "@@ "):
            return f"{symbol} ".replace("@@ ", "")
        return f"{symbol} ".replace("<SIL>", "") if self.post_process == "silence" else f"{symbol} "

    def spell(self, text: str) -> list[str]:
        """Symbols of a text: the letters of its words, each word with a mark behind; else what stands between spaces.

        Pieces cannot be told from words: give a line of the label files.
        """
        words = unicodedata.normalize("NFC", text).split()
        if self.post_process != "letter":
            return words
        mark = POST_PROCESS["letter"]
        return [letter for word in words for letter in (*word, mark)]

    def text_of(self, symbols: str) -> str:
        """A line of symbols as units with single spaces between."""
        return " ".join(text for text, _, _ in self.units_of(symbols.split(" ")))


WORDS = Symbols("wrd", "none", "word")
LETTERS = Symbols("ltr", "letter", "word")


def symbols_of(task: dict[str, Any], criterion: dict[str, Any], dictionary: Sequence[str]) -> Symbols:
    """Read from a checkpoint's configuration what its symbols are.

    Args:
        task, criterion: its sections of that name; dictionary: the symbols.

    Raises:
        InputError: for labels that cannot be a file's extension, or a ``post_process`` that fairseq lacks.
    """
    labels = task.get("labels") or "ltr"
    scheme = criterion.get("post_process", "letter")
    if not (isinstance(labels, str) and re.fullmatch(r"[\w.-]+", labels)):
        raise InputError(f"the checkpoint's task.labels={labels!r} is no extension of label files")
    if not (isinstance(scheme, str) and scheme in POST_PROCESS):
        raise InputError(f"the checkpoint's criterion.post_process={scheme!r} is not one of {', '.join(POST_PROCESS)}")
    mark = POST_PROCESS[scheme]
    if labels == "wrd" or (mark and labels not in _PHONES and any(mark in symbol for symbol in dictionary)):
        return Symbols(labels, scheme, "word")
    names = {"ltr": "letter", "chr": "character", **dict.fromkeys(_PHONES, "phone")}
    unit = "piece" if labels.startswith("bpe") else names.get(labels, labels)
    return Symbols(labels, "none" if mark else scheme, unit)


def read_references(data: Path, split: str, num_clips: int, symbols: Symbols) -> tuple[Path, list[str]] | None:
    """References of a split as units with single spaces between, and the file they are of; None where there is none.

    Words are those of SPLIT.wrd, or without that file what SPLIT.LABELS spells, or SPLIT.ltr. Other units are those of
    SPLIT.LABELS.

    Raises:
        InputError: for a file that does not match the manifest.
    """
    for reading in (WORDS, symbols, LETTERS) if symbols.unit == "word" else (symbols,):
        path = data / f"{split}.{reading.labels}"
        if path.exists():
            return path, [reading.text_of(line) for line in read_labels(path, num_clips)]
    return None
