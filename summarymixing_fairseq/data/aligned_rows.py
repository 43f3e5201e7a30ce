"""Rows to train on, out of a long recording with a text: a table that `summarymixing manifest table` takes."""

from __future__ import annotations

from collections.abc import Sequence

from ..system.tables import tsv_rows
from .alignments import Interval

COLUMNS = ("audio", "start", "end", "text", "confidence")
# Of the pause before a row and of that after it, this much or half of it goes with the row.
_EDGE_SECONDS = 0.25


def as_rows(
    audio: str, words: Sequence[Interval], seconds: float, longest_seconds: float, offset_seconds: float = 0.0
) -> str:
    """Lines of a table of ``COLUMNS``, without its header. Every word is in one row.

    A recording is cut at its longest pause, and so is each part, until no part is longer than it may be; a single word
    is never cut. The confidence of a row is that of its least certain word.

    Args:
        audio: path of the file; words: what is said in it, in their order, at least one.
        seconds: length of what was aligned; offset_seconds: where that begins in the file.
        longest_seconds: from a row's first word to its last.
    """
    lines = []
    parts = _parts(words, longest_seconds)
    ends = [0.0, *(part[-1].end for part in parts)]
    starts = [*(part[0].start for part in parts), seconds]
    for part, before, after in zip(parts, ends, starts[1:]):
        pause = part[0].start - before
        start = part[0].start - min(_EDGE_SECONDS, pause / 2 if before else pause)
        pause = after - part[-1].end
        end = part[-1].end + min(_EDGE_SECONDS, pause / 2 if after < seconds else pause)
        times = (f"{offset_seconds + time:.3f}" for time in (max(0.0, start), min(seconds, end)))
        confidence = min(word.confidence or 0.0 for word in part)
        lines.append((audio, *times, " ".join(word.label for word in part), f"{confidence:.3f}"))
    return tsv_rows(lines)


def _parts(words: Sequence[Interval], longest_seconds: float) -> list[Sequence[Interval]]:
    parts, todo = [], [words]
    while todo:
        part = todo.pop()
        if len(part) == 1 or part[-1].end - part[0].start <= longest_seconds:
            parts.append(part)
        else:
            pauses = [after.start - before.end for before, after in zip(part, part[1:])]
            cut = 1 + pauses.index(max(pauses))
            todo += [part[cut:], part[:cut]]
    return parts
