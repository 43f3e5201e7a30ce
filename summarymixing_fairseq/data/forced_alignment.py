"""CTC forced alignment: the most probable way to hear a given text in given frames (Viterbi), of any length."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..system.errors import InputError
from .ctc_path import BLANK, frames_needed

_NEVER = np.float32(-1e30)  # finite: a sum of it is no NaN
_LEAST = np.float32(-1e5)  # logarithm of a probability of 0
# A path is looked for among those that lose at most this much of the best path of any text, then among more.
_FIRST_LOSS, _LOSS_PER_FRAME, _FACTOR = 200.0, 0.1, 4.0
_SHORTEST_BLOCK = 16


class _Band(NamedTuple):
    """Scores of states: labels ``first`` and on, each with the blank before it, and the blank after the last.

    Attributes:
        label: (n + 1,) float32, "never" and the n labels, so that ``label[j]`` precedes label j.
        blank: (n + 1,) float32.
    """

    first: int
    label: np.ndarray
    blank: np.ndarray


def align(log_probs: np.ndarray, labels: Sequence[int] | np.ndarray) -> np.ndarray:
    """The most probable path of a text through the frames.

    Exact. States whose loss, what a path has lost up to there to the best symbol of every frame, exceeds a limit are
    left out. A path's loss never falls: one that ends below the limit is the best of all, and where none does the limit
    is raised. Scores are kept at the start of blocks of about sqrt(T) frames, and the way back is computed block by
    block, so that memory is sqrt(T) times the states that are left.

    Args:
        log_probs: (T, symbols) natural-log probabilities; labels: the text, (L,) indices of symbols without blanks.

    Returns:
        (T,) int64, which label of the text is heard in each frame, -1 where it is a blank.

    Raises:
        InputError: for a text that needs more frames than there are.
    """
    labels = np.asarray(labels, dtype=np.int64)
    needed = frames_needed(labels.tolist())
    if needed > len(log_probs):
        raise InputError(f"a text of {len(labels)} symbols needs {needed} frames, and there are {len(log_probs)}")
    if not len(labels):
        return np.full(len(log_probs), -1)
    losses = log_probs - log_probs.max(1, keepdims=True)
    scores = np.ascontiguousarray(np.maximum(losses, _LEAST), dtype=np.float32)
    limit = _FIRST_LOSS + _LOSS_PER_FRAME * len(scores)
    while True:
        blocks = _forward(scores, labels, limit)
        if blocks is not None:
            return _backward(scores, labels, blocks)
        limit *= _FACTOR


def aligned_symbols(log_probs: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """As ``align``: the symbol of each frame, (T,) int64, ``BLANK`` among them."""
    return np.array([*labels, BLANK])[align(log_probs, labels)]  # -1, the last one, is the blank


def _block(num_frames: int) -> int:
    return max(_SHORTEST_BLOCK, math.isqrt(num_frames))


def _repeats(labels: np.ndarray, first: int, num_labels: int) -> np.ndarray:
    """Places, from ``first`` on, of labels that equal the one before: a blank has to stand between."""
    part = labels[first : first + num_labels]
    return np.flatnonzero(part[1:] == part[:-1]) + 1


def _forward(scores: np.ndarray, labels: np.ndarray, limit: float) -> list[_Band] | None:
    """States at the start of each block, and at the end; None if no path through all labels stays in the limit."""
    # before the first frame: in the first blank
    band = _Band(0, np.full(1, _NEVER), np.zeros(1, np.float32))
    blocks = []
    size = _block(len(scores))
    for start in range(0, len(scores), size):
        frames = scores[start : start + size]
        # a path goes on by one label a frame at most
        added = min(len(frames), len(labels) - band.first - len(band.label) + 1)
        room = np.full(added, _NEVER)
        band = _Band(band.first, np.concatenate([band.label, room]), np.concatenate([band.blank, room]))
        blocks.append(band)
        kept = _within(_advance(band, frames, labels), limit)
        if kept is None:
            return None
        band = kept
    if band.first + len(band.label) - 1 < len(labels) or max(band.label[-1], band.blank[-1]) < -limit:
        return None
    return [*blocks, band]


def _advance(band: _Band, frames: np.ndarray, labels: np.ndarray) -> _Band:
    num_labels = len(band.label) - 1
    symbols = labels[band.first : band.first + num_labels]
    repeats = _repeats(labels, band.first, num_labels)
    label, blank = band.label.copy(), band.blank.copy()
    # what is read and what is written change places
    next_label, next_blank = np.full_like(label, _NEVER), np.empty_like(blank)
    heard = np.empty(num_labels, np.float32)
    for frame in frames:
        np.maximum(blank, label, out=next_blank)
        next_blank += frame[BLANK]
        into = next_label[1:]
        np.maximum(label[1:], label[:-1], out=into)
        into[repeats] = label[1:][repeats]
        np.maximum(into, blank[:-1], out=into)
        np.take(frame, symbols, out=heard)
        into += heard
        label, next_label = next_label, label
        blank, next_blank = next_blank, blank
    return _Band(band.first, label, blank)


def _within(band: _Band, limit: float) -> _Band | None:
    """Without the states on both sides that lose more than the limit."""
    labels = np.flatnonzero(band.label[1:] >= -limit)
    blanks = np.flatnonzero(band.blank >= -limit)
    if not len(labels) and not len(blanks):
        return None
    first = min([*labels[:1], *blanks[:1]])
    end = max([*(labels[-1:] + 1), *blanks[-1:]])
    label = np.concatenate([[_NEVER], band.label[1 + first : 1 + end]])
    return _Band(band.first + first, label, band.blank[first : end + 1])


def _backward(scores: np.ndarray, labels: np.ndarray, blocks: list[_Band]) -> np.ndarray:
    """The path, from its end to its start."""
    path = np.empty(len(scores), np.int64)
    size = _block(len(scores))
    *starts, last = blocks
    in_blank = bool(last.blank[-1] > last.label[-1])
    place = len(labels) if in_blank else len(labels) - 1
    for number in reversed(range(len(starts))):
        start = number * size
        frames = scores[start : start + size]
        # what can lead to ``place`` in so many frames
        band = starts[number]
        first, end = max(band.first, place - len(frames) - 1), place + (not in_blank)
        label = np.concatenate([[_NEVER], band.label[1 + first - band.first : 1 + end - band.first]])
        band = _Band(first, label, band.blank[first - band.first : end - band.first + 1])
        to_label, to_blank = _choices(band, frames, labels)
        for t in reversed(range(len(frames))):
            path[start + t] = -1 if in_blank else place
            if in_blank:
                in_blank = not to_blank[t, place - first]
                place -= not in_blank
            else:
                choice = to_label[t, place - first]
                in_blank = choice == 1
                place -= choice == 2
    return path


def _choices(band: _Band, frames: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the best path into each state came from.

    Returns:
        (frames, labels) uint8: 0 from the label itself, 1 from the blank before it, 2 from the label before it; and
        (frames, labels + 1) bool: into a blank, True where from the label before it.
    """
    num_labels = len(band.label) - 1
    symbols = labels[band.first : band.first + num_labels]
    repeats = _repeats(labels, band.first, num_labels)
    label, blank = band.label, band.blank
    to_label = np.zeros((len(frames), num_labels), np.uint8)
    to_blank = np.zeros((len(frames), num_labels + 1), bool)
    for t, frame in enumerate(frames):
        np.greater(label, blank, out=to_blank[t])
        next_blank = np.maximum(blank, label) + frame[BLANK]
        before = label[:-1].copy()
        before[repeats] = _NEVER
        best = np.maximum(label[1:], before)
        to_label[t, before > label[1:]] = 2
        to_label[t, blank[:-1] > best] = 1
        next_label = np.maximum(best, blank[:-1]) + frame[symbols]
        label, blank = np.concatenate([label[:1], next_label]), next_blank
    return to_label, to_blank
