"""Error rates of words, characters and other units over a whole corpus, and what of them is writing only.

Texts are compared in Unicode's composed form (NFC).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import editdistance
import numpy as np


@dataclass(frozen=True, eq=False)
class ErrorRate:
    """Edit distances and reference lengths of all utterances.

    Attributes:
        utterance_errors: (utterances,) int64, edit distance of each.
        utterance_lengths: (utterances,) int64, words or characters of each reference.
    """

    utterance_errors: np.ndarray
    utterance_lengths: np.ndarray

    @property
    def errors(self) -> int:
        """Edit distance summed over all utterances."""
        return int(self.utterance_errors.sum())

    @property
    def total(self) -> int:
        """Length of all references."""
        return int(self.utterance_lengths.sum())

    @property
    def rate(self) -> float:
        """Errors over reference length; NaN without a reference."""
        return self.errors / self.total if self.total else float("nan")


def error_rates(references: Sequence[str], hypotheses: Sequence[str], unit: str) -> dict[str, tuple[ErrorRate, str]]:
    """Error rates by their names, each with what it counts.

    Args:
        unit: what is between the spaces of a text. Of words WER and CER, of any other unit its own rate.

    Raises:
        ValueError: for lists of unequal length.
    """
    rate = word_error_rate(references, hypotheses)
    if unit == "word":
        return {"wer": (rate, "words"), "cer": (character_error_rate(references, hypotheses), "characters")}
    return {f"{unit}_error_rate": (rate, f"{unit}s")}


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """WER; words are separated by spaces. Raises ValueError for lists of unequal length."""
    return _error_rate(*([_composed(text).split() for text in texts] for texts in (references, hypotheses)))


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """CER; the space between two words counts as a character. Raises ValueError for lists of unequal length."""
    return _error_rate([_composed(text) for text in references], [_composed(text) for text in hypotheses])


def _error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> ErrorRate:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each per utterance")
    errors = [editdistance.eval(r, h) for r, h in zip(references, hypotheses)]
    return ErrorRate(np.array(errors, np.int64), np.array([len(r) for r in references], np.int64))


def _composed(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _without_punctuation(text: str) -> str:
    """A text without apostrophes, other punctuation and symbols as spaces."""
    text = re.sub("['\u2019\u02bc]", "", text)
    return "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in text)


# What two texts can differ in without a word being misheard, and how a text looks without it
_WRITING = {
    "letter case": str.casefold,
    "punctuation": _without_punctuation,
    "letter case and punctuation": lambda text: _without_punctuation(text).casefold(),
}


def notes_on_writing(references: Sequence[str], hypotheses: Sequence[str]) -> list[str]:
    """Notes, one line each, on decomposed letters, and on letter case and punctuation.

    These are noted if without them at least half of the errors are gone.

    Raises:
        ValueError: for lists of unequal length.
    """
    notes = []
    num_decomposed = sum(not unicodedata.is_normalized("NFC", text) for text in (*references, *hypotheses))
    if num_decomposed:
        notes.append(f"{num_decomposed} lines of references and hypotheses have decomposed letters: compared as NFC")
    errors = word_error_rate(references, hypotheses).errors
    for name, plain in _WRITING.items():
        left = word_error_rate(*([plain(text) for text in texts] for texts in (references, hypotheses))).errors
        if errors and left <= errors / 2:
            what = f"{errors - left} of {errors} errors are of {name} only"
            notes.append(f"{what}: write the references as the model's training labels are written")
            break
    return notes
