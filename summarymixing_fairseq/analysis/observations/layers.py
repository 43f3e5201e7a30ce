"""``layers``: how alike two places are, of one encoder or of two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ..measures.similarity import ROUNDING
from ..observed import Observed, estimate
from .registry import Row, register_measure

MOST_FRAMES = 20_000


@register_measure("layers", "CKA between places, of one encoder and between encoders")
def layers(observed: Observed, places: Sequence[str]) -> Iterator[Row]:
    """CKA of each pair of places."""
    groups = observed.groups(MOST_FRAMES)
    sides = {place: _Side(observed, place, groups) for place in places}
    for place, other in combinations(places, 2):
        yield sides[place].cka(sides[other])


def between(one: Observed, other: Observed, places: Sequence[str], other_places: Sequence[str]) -> Iterator[Row]:
    """CKA of each place of one encoder with each of another's: of frames of the first, and of those of the second whose
    centres lie nearest to theirs."""
    groups = one.groups(MOST_FRAMES)
    nearest = [one.states.nearest_rows(rows, other.states) for rows in groups]
    others = [_Side(other, place, nearest) for place in other_places]
    for place in places:
        side = _Side(one, place, groups)
        yield from (side.cka(each) for each in others)


class _Side:
    """Frames of a place, around their mean, and the norms of their scatter matrix: of all frames, and without each
    group of clips. A matrix of all pairs of places would need too much memory, and each norm for each pair much time.
    """

    def __init__(self, observed: Observed, place: str, rows_of_groups: Sequence[np.ndarray]):
        self.place = place
        groups = [observed.states.frames(place, rows) for rows in rows_of_groups]
        mean = torch.cat(groups).double().mean(0)
        self._groups = [(group.double() - mean).float() for group in groups]
        self._sums = [group.double().sum(0) for group in self._groups]
        self._norms = self._squares(self).sqrt()
        # states that differ by rounding alone do not vary: their CKA is undefined
        if float(self._norms[0]) <= ROUNDING * float(len(torch.cat(groups)) * mean.square().sum()):
            self._norms = torch.full_like(self._norms, torch.nan)

    def cka(self, other: _Side) -> Row:
        """Linear CKA with another place, as ``linear_cka``."""
        value, *without = (self._squares(other) / (self._norms * other._norms)).tolist()
        return Row(self.place, "CKA", estimate(value, without), other.place)

    def _squares(self, other: _Side) -> Tensor:
        """Squared Frobenius norm of the scatter matrix of both, of all frames, and without each group."""
        products = [(one.T @ two).double() for one, two in zip(self._groups, other._groups)]
        total = torch.stack(products).sum(0)
        found = [total.square().sum()]
        lengths = [len(group) for group in self._groups]
        for product, one, two, length in zip(products, self._sums, other._sums, lengths):
            left = sum(lengths) - length
            rest = total - product
            if left:  # all frames around their mean add up to 0: without the group, to minus its sum
                rest -= torch.outer(one, two) / left
            found.append(rest.square().sum())
        return torch.stack(found)
