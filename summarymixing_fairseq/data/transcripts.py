"""What was said in a clip and when: texts, words with times, segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .alignments import Interval

# A segment ends where nobody speaks for so long, or where it would get longer than a subtitle of two lines may be.
PAUSE_SECONDS = 0.6
SEGMENT_SECONDS = 7.0
SEGMENT_CHARACTERS = 84


@dataclass(frozen=True)
class Hypothesis:
    """One way to understand a clip.

    Attributes:
        words: in their order, with start and end in seconds, and confidence: the geometric mean of the highest
            probability of each letter, as the model gives it (not calibrated). Phones or other units where the model's
            symbols spell no words.
        score: the higher, the better, among the hypotheses of one clip.
    """

    words: tuple[Interval, ...]
    score: float

    @property
    def text(self) -> str:
        """Words with single spaces between."""
        return " ".join(word.label for word in self.words)


@dataclass(frozen=True)
class Transcript:
    """What was said in a clip.

    Attributes:
        hypotheses: the best first; one at least.
        seconds: length of the clip.
        unit: what ``words`` holds: "word", or "phone", "letter", "piece", ... as the model was trained.
    """

    hypotheses: tuple[Hypothesis, ...]
    seconds: float
    unit: str = "word"

    @property
    def words(self) -> tuple[Interval, ...]:
        """Of the best hypothesis."""
        return self.hypotheses[0].words

    @property
    def text(self) -> str:
        """Of the best hypothesis."""
        return self.hypotheses[0].text

    @property
    def segments(self) -> list[Interval]:
        """Words joined to stretches that fit a subtitle: cut at pauses of 0.6 s, at 7 s and at 84 characters."""
        return [Interval(" ".join(w.label for w in part), part[0].start, part[-1].end) for part in _parts(self.words)]


def _parts(words: Sequence[Interval]) -> list[list[Interval]]:
    parts: list[list[Interval]] = []
    num_characters = 0
    for word in words:
        num_characters += 1 + len(word.label)
        if (
            not parts
            or word.start - parts[-1][-1].end >= PAUSE_SECONDS
            or word.end - parts[-1][0].start > SEGMENT_SECONDS
            or num_characters > SEGMENT_CHARACTERS
        ):
            parts.append([])
            num_characters = len(word.label)
        parts[-1].append(word)
    return parts
