"""Error rates of words, characters and other units over a whole corpus."""

from __future__ import annotations

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
    return _error_rate([r.split() for r in references], [h.split() for h in hypotheses])


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """CER; the space between two words counts as a character. Raises ValueError for lists of unequal length."""
    return _error_rate([" ".join(r.split()) for r in references], [" ".join(h.split()) for h in hypotheses])


def _error_rate(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> ErrorRate:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each per utterance")
    errors = [editdistance.eval(r, h) for r, h in zip(references, hypotheses)]
    return ErrorRate(np.array(errors, np.int64), np.array([len(r) for r in references], np.int64))
