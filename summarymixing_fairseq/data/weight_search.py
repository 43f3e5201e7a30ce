"""The weights of a beam search that cost least, such as the fewest wrong words of a validation split."""

from __future__ import annotations

import itertools
from collections.abc import Callable

# Tried first; then steps from the best, ever smaller.
_LM_WEIGHTS, _WORD_SCORES = (0.5, 1.0, 2.0, 4.0), (-2.0, 0.0, 2.0)
_STEPS = (1.0, 0.5, 0.25)


def least_cost(cost: Callable[[float, float], tuple[float, ...]]) -> tuple[float, float]:
    """Language model weight and word score of the lowest cost, of some two dozen that are tried.

    Of weights with the same cost, those are chosen that change the model's own scores least.

    Args:
        cost: of a language model weight, 0 or more, and a word score; asked once for each two.
    """
    costs: dict[tuple[float, float], tuple[float, ...]] = {}

    def best_of(candidates: list[tuple[float, float]]) -> tuple[float, float]:
        for pair in candidates:
            if pair not in costs:
                costs[pair] = cost(*pair)
        return min(candidates, key=lambda pair: (costs[pair], pair[0], abs(pair[1]), pair[1]))

    best = best_of(list(itertools.product(_LM_WEIGHTS, _WORD_SCORES)))
    for step in _STEPS:
        while True:
            lm_weight, word_score = best
            nearby = [(lm_weight + step, word_score), (max(0.0, lm_weight - step), word_score)]
            nearby += [(lm_weight, word_score + step), (lm_weight, word_score - step)]
            found = best_of([best, *nearby])
            if costs[found] >= costs[best]:
                break
            best = found
    return best
