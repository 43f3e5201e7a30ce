"""The most probable texts of CTC emissions, without a lexicon (prefix beam search, Graves and Jaitly 2014)."""

from __future__ import annotations

import math
from collections.abc import Container
from typing import TYPE_CHECKING

import numpy as np

from .ctc_path import BLANK

_NEVER = -math.inf
# Symbols of a frame that are this much less probable than its best one are not tried, in nats.
_FAR_BELOW = 15.0

# Of a beginning: the log probability of its paths that end with a blank, and of those that end with its symbol.
Score = tuple[float, float]
if TYPE_CHECKING:
    # Of a beginning: its number in the tree, or the number of the one before and its last symbol.
    Place = int | tuple[int, int]


def most_probable(
    log_probs: np.ndarray, n_best: int, beam_size: int, ignored: Container[int]
) -> list[tuple[list[int], float]]:
    """Texts, the best first.

    Args:
        log_probs: (T, symbols) natural-log probabilities; n_best: texts at most.
        beam_size: beginnings of texts that are kept at each frame; ignored: symbols that no text has.

    Returns:
        The symbols of each, and the natural log of its probability: the sum over all its paths that were kept.
    """
    # Beginnings form a tree: of each the symbol that it ends with, and the one without it. One that is not in the tree
    # is the pair of the one without its last symbol, and that symbol: only what is kept gets a place.
    symbols, parents = [BLANK], [0]
    children: dict[tuple[int, int], int] = {}
    beam: dict[int, Score] = {0: (0.0, _NEVER)}
    allowed = np.array([s for s in range(log_probs.shape[1]) if s != BLANK and s not in ignored], np.int64)
    for frame in log_probs:
        tried = allowed[frame[allowed] > frame.max() - _FAR_BELOW]
        heard = [(int(symbol), float(frame[symbol])) for symbol in tried]
        scores: dict[Place, Score] = {}
        for node, (in_blank, in_symbol) in beam.items():
            both = _log_add(in_blank, in_symbol)
            last = symbols[node]
            _add(scores, node, (both + float(frame[BLANK]), in_symbol + float(frame[last]) if node else _NEVER))
            for symbol, log_prob in heard:
                score = (in_blank if symbol == last else both) + log_prob
                if score == _NEVER:
                    continue
                _add(scores, children.get((node, symbol), (node, symbol)), (_NEVER, score))
        beam = {}
        for place, paths in sorted(scores.items(), key=_total, reverse=True)[:beam_size]:
            if isinstance(place, tuple):
                children[place] = len(symbols)
                parents.append(place[0])
                symbols.append(place[1])
                place = children[place]
            beam[place] = paths
    found = []
    for node, paths in sorted(beam.items(), key=_total, reverse=True)[:n_best]:
        text = []
        while node:
            text.append(symbols[node])
            node = parents[node]
        found.append((text[::-1], _log_add(*paths)))
    return found


def _add(scores: dict[Place, Score], node: Place, more: Score) -> None:
    blank, symbol = scores.get(node, (_NEVER, _NEVER))
    scores[node] = _log_add(blank, more[0]), _log_add(symbol, more[1])


def _total(item: tuple[Place, Score]) -> float:
    return _log_add(*item[1])


def _log_add(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    if a < b:
        a, b = b, a
    return a if b == _NEVER else a + math.log1p(math.exp(b - a))
