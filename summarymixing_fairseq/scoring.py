"""Word and character error rates over a whole corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import editdistance


@dataclass(frozen=True)
class ErrorRate:
    """Edit distance summed over all utterances, and the length of all references."""

    errors: int
    total: int

    @property
    def rate(self) -> float:
        """Errors over reference length; NaN without a reference."""
        return self.errors / self.total if self.total else float("nan")


def _check(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references and {len(hypotheses)} hypotheses: one of each per utterance")


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """WER: words are what stands between spaces. Raises ValueError for lists of unequal length."""
    _check(references, hypotheses)
    pairs = [(r.split(), h.split()) for r, h in zip(references, hypotheses)]
    return ErrorRate(sum(editdistance.eval(r, h) for r, h in pairs), sum(len(r) for r, _ in pairs))


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRate:
    """CER: characters, a space between two words being one. Raises ValueError for lists of unequal length."""
    _check(references, hypotheses)
    pairs = [(" ".join(r.split()), " ".join(h.split())) for r, h in zip(references, hypotheses)]
    return ErrorRate(sum(editdistance.eval(r, h) for r, h in pairs), sum(len(r) for r, _ in pairs))
