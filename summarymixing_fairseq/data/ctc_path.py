"""Paths of CTC: one symbol or blank a frame, and the symbols that they spell."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# fairseq's CTC criterion uses the dictionary's first symbol, <s>, as blank.
BLANK = 0


def frames_needed(symbols: Sequence[object]) -> int:
    """The fewest frames in which CTC can spell a text: one a symbol, and a blank between two that are the same."""
    return len(symbols) + sum(map(operator.eq, symbols, symbols[1:]))


class Heard(NamedTuple):
    """A symbol of a path.

    Attributes:
        symbol: its index; start, end: its first frame, and the one after its last.
        confidence: its highest probability in these frames.
    """

    symbol: int
    start: int
    end: int
    confidence: float


def heard_in(path: np.ndarray, log_probs: np.ndarray) -> list[Heard]:
    """Symbols of a path, repeats merged and blanks dropped.

    Args:
        path: (T,) index of the symbol of each frame; log_probs: (T, symbols) natural-log probabilities.
    """
    if not len(path):
        return []
    starts = np.flatnonzero(np.concatenate([[True], path[1:] != path[:-1]]))
    highest = np.exp(np.maximum.reduceat(log_probs[np.arange(len(path)), path], starts))
    ends = [*starts[1:].tolist(), len(path)]
    found = zip(path[starts].tolist(), starts.tolist(), ends, highest.tolist())
    return [Heard(*one) for one in found if one[0] != BLANK]
