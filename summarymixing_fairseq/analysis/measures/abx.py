"""ABX error of phones: how often a segment X of phone a lies nearer to a segment of phone b than to another one of a.

Schatz et al. 2013, with the choices of ZeroSpeech (Libri-light, arXiv 1912.07875, section 4.1): the distance of two
frames is the angle between them over pi; that of two segments is the mean along the path of dynamic time warping. A and
B have the same speaker; X has the same one ("within") or another ("across"). Phones count in any context. 0.5 is
chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...system.errors import InputError

MAX_TRIPLES = 50_000
# Distances that differ by less are equal: near 0, rounding moves an angle by 1e-8.
TIE = 1e-7
# Numbers that one batch of warpings gathers: 64 MB of float64.
BATCH_NUMBERS = 8_000_000
MAX_BATCH = 8192  # pairs


class AbxCells(NamedTuple):
    """Errors by cell: one for each phone a, phone b, speaker of A and B, speaker of X. All (cells,).

    Attributes:
        a, b, speakers, x_speakers: as they were given.
        errors: float64, mean over the triples of the cell; a tie counts half. nan if a frame is not finite.
        num_triples: that were drawn.
    """

    a: np.ndarray
    b: np.ndarray
    speakers: np.ndarray
    x_speakers: np.ndarray
    errors: np.ndarray
    num_triples: np.ndarray

    def by_pair(self) -> np.ndarray:
        """Of each pair (a, b) the mean over the speakers of X, then over the speakers of A and B: (pairs,)."""
        keys, means = np.stack([self.a, self.b, self.speakers], 1), self.errors
        for num_columns in (3, 2):
            keys, group = np.unique(keys[:, :num_columns], axis=0, return_inverse=True)
            group = group.reshape(-1)  # numpy 2.0 gives it a second dimension
            means = np.bincount(group, means) / np.bincount(group)
        return means

    def error(self) -> float:
        """Mean over the pairs (a, b)."""
        return float(self.by_pair().mean())


def abx(
    segments: Sequence[Tensor],
    phones: np.ndarray,
    speakers: np.ndarray,
    across: bool,
    max_triples: int = MAX_TRIPLES,
    seed: int = 0,
) -> AbxCells:
    """ABX errors of all cells that the segments have, or of as many as ``max_triples`` allows.

    Args:
        segments: (frames, D) float of each segment.
        phones, speakers: (segments,) integers.
        across: X is of another speaker.
        max_triples: about how many are compared: each cell gets the same share of them, drawn with replacement where it
            has more. Where there are more cells than this, that many are drawn.
        seed: of the draws.

    Raises:
        InputError: if no cell has a triple, or a segment has no frame.
    """
    rng = np.random.default_rng(seed)
    groups = _Groups(phones, speakers)
    cells = _cells(groups, across, max_triples, rng)
    cell, triples = _triples(groups, cells, max(1, max_triples // len(cells)), rng)
    a, b, x = triples.T
    pairs = np.sort(np.concatenate([np.stack([a, x], 1), np.stack([b, x], 1)]), axis=1)
    unique, where = np.unique(pairs[:, 0] * len(segments) + pairs[:, 1], return_inverse=True)
    distances = dtw_distances(segments, unique // len(segments), unique % len(segments)).numpy()[where]
    to_a, to_b = np.split(distances, 2)
    num_triples = np.bincount(cell)
    difference = to_a - to_b
    difference[np.abs(difference) <= TIE] = 0.0
    errors = np.bincount(cell, 0.5 + 0.5 * np.sign(difference)) / num_triples
    phone_a, phone_b, speaker, x_speaker = cells.T
    return AbxCells(
        groups.phones[phone_a],
        groups.phones[phone_b],
        groups.speakers[speaker],
        groups.speakers[x_speaker],
        errors,
        num_triples,
    )


class _Groups:
    """Segments by speaker and phone, which are numbered from 0.

    Attributes:
        phones, speakers: names by number.
        counts: (S, P) segments of each group; starts: (S, P) of the first of them in ``order``.
        order: (segments,) numbers of the segments, group by group.
    """

    def __init__(self, phones: np.ndarray, speakers: np.ndarray):
        self.phones, phone = np.unique(phones, return_inverse=True)
        self.speakers, speaker = np.unique(speakers, return_inverse=True)
        group = speaker * len(self.phones) + phone
        self.order = np.argsort(group, kind="stable")
        shape = len(self.speakers), len(self.phones)
        counts = np.bincount(group, minlength=shape[0] * shape[1])
        self.counts, self.starts = counts.reshape(shape), (np.cumsum(counts) - counts).reshape(shape)


def _cells(groups: _Groups, across: bool, max_cells: int, rng: np.random.Generator) -> np.ndarray:
    """(cells, 4): numbers of phone a, phone b, speaker of A and B, speaker of X."""
    has = groups.counts > 0
    # (S, P): whether the speaker has what phone a needs, with X where X is of the same speaker
    has_a = has if across else groups.counts > 1
    different = ~np.eye(len(groups.phones), dtype=bool)
    speaker, a, b = np.nonzero(has_a[:, :, None] & has[:, None, :] & different)
    # cells are numbered, not listed, as there may be very many across speakers
    num_x_speakers = has.sum(0)[a] - 1 if across else np.ones_like(a)
    ends = np.cumsum(num_x_speakers)
    num_cells = int(ends[-1]) if len(ends) else 0
    if not num_cells:
        other = (
            "two speakers of a phone, and another phone of one of them"
            if across
            else ("two segments of a phone and one of another, all of one speaker")
        )
        raise InputError(f"ABX {'across' if across else 'within'} speakers needs {other}: the labels have no such case")
    many = num_cells > max_cells
    chosen = np.sort(rng.choice(num_cells, max_cells, replace=False)) if many else np.arange(num_cells)
    row = np.searchsorted(ends, chosen, side="right")
    speaker, a, b = speaker[row], a[row], b[row]
    if not across:
        return np.stack([a, b, speaker, speaker], 1)
    nth = chosen - (ends - num_x_speakers)[row]  # which of the other speakers of phone a
    speakers_of = [np.flatnonzero(speaks) for speaks in has.T]  # by phone
    others = [speakers_of[phone][speakers_of[phone] != own][n] for phone, own, n in zip(a, speaker, nth)]
    return np.stack([a, b, speaker, np.array(others)], 1)


def _triples(
    groups: _Groups, cells: np.ndarray, max_each: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cell (triples,) and segments A, B, X (triples, 3) of each triple, all of a cell or ``max_each``."""
    a, b, speaker, x_speaker = cells.T
    same = speaker == x_speaker
    num_a, num_b = groups.counts[speaker, a], groups.counts[speaker, b]
    num_x = groups.counts[x_speaker, a] - same
    totals = num_a * num_b * num_x
    taken = np.minimum(totals, max_each)
    cell = np.repeat(np.arange(len(cells)), taken)
    nth = np.arange(len(cell)) - np.repeat(np.cumsum(taken) - taken, taken)
    drawn = rng.integers(0, totals[cell])
    nth = np.where(totals[cell] > max_each, drawn, nth)
    nth, at_a = np.divmod(nth, num_a[cell])
    at_b, at_x = np.divmod(nth, num_x[cell])
    at_x += same[cell] & (at_x >= at_a)  # X is not A
    starts = [groups.starts[s, phone] for s, phone in ((speaker, a), (speaker, b), (x_speaker, a))]
    triples = np.stack([start[cell] + at for start, at in zip(starts, (at_a, at_b, at_x))], 1)
    return cell, groups.order[triples]


def dtw_distances(segments: Sequence[Tensor], first: np.ndarray, second: np.ndarray) -> Tensor:
    """Distances of pairs of segments by dynamic time warping.

    A step goes to the next frame of one segment or of both; the sum of the frames' distances along the cheapest path is
    divided by the length of the path (of equal costs, the step of both goes first, then that of the longer segment).

    Args:
        segments: (frames, D) float of each.
        first, second: (pairs,) numbers of segments.

    Returns:
        (pairs,) float64, 0 (same directions) to 1 (opposite); a frame of zeros is at 0.5 from all others; nan if a
        frame is not finite.

    Raises:
        InputError: if a segment has no frame.
    """
    lengths = np.array([len(segment) for segment in segments])
    if not lengths.all():
        raise InputError(f"segment {int(lengths.argmin())} has no frame: leave out segments shorter than a frame")
    swap = lengths[first] > lengths[second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)  # the shorter one first
    used = np.unique(np.concatenate([first, second]))
    starts = np.zeros(len(segments), dtype=np.int64)
    starts[used] = np.cumsum(lengths[used]) - lengths[used]
    # in float64, as the angle of two like float32 vectors is rounding up to 3e-4
    units = nn.functional.normalize(torch.cat([segments[i] for i in used]).detach().cpu().double(), dim=1)
    result = torch.empty(len(first), dtype=torch.float64)
    by_shape = np.lexsort([lengths[first], lengths[second]])
    done = 0
    while done < len(by_shape):
        # numbers that batches of 1, 2, ... pairs gather, as if both segments were as long as the longer one
        longest = lengths[second[by_shape[done : done + MAX_BATCH]]]
        sizes = np.arange(1, len(longest) + 1) * 2 * longest * (units.size(1) + longest)
        end = done + max(1, int(np.searchsorted(sizes, BATCH_NUMBERS, side="right")))
        batch = by_shape[done:end]
        i, j = first[batch], second[batch]
        cosines = torch.bmm(
            units[_rows(starts[i], lengths[i])], units[_rows(starts[j], lengths[j])].transpose(1, 2)
        )  # (B, T1, D) x (B, D, T2) -> (B, T1, T2)
        angles = cosines.clamp(-1.0, 1.0).acos() / torch.pi
        result[batch] = _warped(angles, torch.from_numpy(lengths[i]), torch.from_numpy(lengths[j]))
        done = end
    return result


def _rows(starts: np.ndarray, lengths: np.ndarray) -> Tensor:
    """Rows of each segment's frames (B, longest); after its end its last one, which no path to its end passes."""
    steps = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)
    return torch.from_numpy(starts[:, None] + steps)


def _warped(distances: Tensor, first_lengths: Tensor, second_lengths: Tensor) -> Tensor:
    """Mean distance along the cheapest path to the last frames of both: distances (B, T1, T2), lengths (B,) -> (B,).

    Every path passes each frame, so that one of nan makes the result nan. All cells (i, d - i) of a diagonal d are
    computed at once.
    """
    num_pairs, num_first, num_second = distances.shape
    num_diagonals = num_first + num_second - 1
    column = torch.arange(num_diagonals)[:, None] - torch.arange(num_first)  # (diagonals, T1): j = d - i
    outside = (column < 0) | (column >= num_second)
    row = torch.arange(num_first).expand_as(column)
    # (B, T1, T2) -> (T1, T2, B) -> (diagonals, T1, B)
    steps = distances.permute(1, 2, 0)[row, column.clamp(0, num_second - 1)]
    steps[outside] = float("inf")

    # costs and lengths of paths up to the two diagonals before, after a row i = -1: (T1 + 1, B)
    infinite = torch.full((num_first + 1, num_pairs), float("inf"), dtype=distances.dtype)
    before, last = infinite.clone(), infinite.clone()
    before[0] = 0.0  # where paths begin
    length_before, length_last = torch.zeros_like(before), torch.zeros_like(before)
    costs, path_lengths = torch.empty_like(steps), torch.empty_like(steps)
    for d in range(num_diagonals):
        along_second, along_first, both = last[1:], last[:-1], before[:-1]
        is_second = along_second <= along_first
        one = torch.where(is_second, along_second, along_first)
        one_length = torch.where(is_second, length_last[1:], length_last[:-1])
        is_both = both <= one
        torch.add(torch.where(is_both, both, one), steps[d], out=costs[d])
        torch.add(torch.where(is_both, length_before[:-1], one_length), 1.0, out=path_lengths[d])
        before, last = last, torch.cat([infinite[:1], costs[d]])
        length_before, length_last = length_last, torch.cat([infinite[:1], path_lengths[d]])
    at = first_lengths + second_lengths - 2, first_lengths - 1, torch.arange(num_pairs)
    return costs[at] / path_lengths[at]
