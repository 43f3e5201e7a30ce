"""What a measure sees: the states of a corpus at each place, and the labels of its frames and clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .kept_states import KeptStates

# Clips are put into this many groups: intervals leave out one at a time.
NUM_GROUPS = 10
NO_LABEL = -1


class Estimate(NamedTuple):
    """A number and its 95 % interval; nan where there is none."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


class Labels(NamedTuple):
    """Classes of frames, or of clips: ``of`` (N,) or (clips,) int64, ``NO_LABEL`` where there is none, and names."""

    of: np.ndarray
    names: list[str]


@dataclass
class Observed:
    """States and labels of one encoder on a corpus.

    Attributes:
        name: of the encoder.
        states: see ``KeptStates``.
        frame_labels: by tier (``phones``, ``words``), in the order of the frames.
        intervals: by tier, for each clip of ``states.order``: (class, first frame, frame after the last) of each
            interval that has a frame.
        clip_labels: by kind (``speakers``, ``languages``), in the order of ``states.order``.
        encoder, waves: for measures that run the encoder themselves: an ``Encoder``, and some clips by their row in
            ``states.order``, (num_samples,) float32 at 16 kHz each.
        seed: of draws.
    """

    name: str
    states: KeptStates
    frame_labels: Mapping[str, Labels] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[list[tuple[int, int, int]]]] = field(default_factory=dict)
    clip_labels: Mapping[str, Labels] = field(default_factory=dict)
    encoder: Any = None
    waves: Mapping[int, np.ndarray] = field(default_factory=dict)
    seed: int = 0

    def groups(self, most_frames: int | None = None) -> list[np.ndarray]:
        """Rows of the frames of each group of clips; groups without a clip are left out. With ``most_frames`` evenly
        spaced ones: fewer than twice that many in all."""
        group = self._group_of()[self.states.clip_of_frame]
        step = 1 if most_frames is None else max(1, len(group) // most_frames)
        return [rows[::step] for number in range(NUM_GROUPS) if len(rows := np.flatnonzero(group == number))]

    def group_of_clips(self) -> list[int]:
        """The group of each clip of ``states.order``."""
        return self._group_of()[self.states.order].tolist()

    def _group_of(self) -> np.ndarray:
        """(clips,) by their place in the manifest: by chance, as its order may have a period (speakers in turn), and
        the same for all encoders."""
        return np.random.default_rng(0).permutation(max(self.states.order) + 1) % NUM_GROUPS

    def frames_by_group(self, place: str, most_frames: int | None = None) -> list[tuple[Tensor, np.ndarray]]:
        """Frames and rows of each group, as ``groups`` gives them."""
        return [(self.states.frames(place, rows), rows) for rows in self.groups(most_frames)]


def jackknife(parts: Sequence[Any], statistic: Callable[[Any], float]) -> Estimate:
    """A statistic of the sum of parts, and its interval by leaving out one part at a time (Efron and Stein 1981).

    Args:
        parts: what can be added and subtracted, one for each of at most ``NUM_GROUPS`` groups of clips.
        statistic: of such a sum.

    Returns:
        no interval for fewer than two parts.
    """
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    without = [statistic(total - part) for part in parts] if len(parts) > 1 else []
    return estimate(statistic(total), without)


def estimate(value: float, without: Sequence[float]) -> Estimate:
    """A statistic with the interval that its values without each of the parts give; none for fewer than two."""
    count = len(without)
    if count < 2:
        return Estimate(value)
    from scipy import stats  # takes half a second

    values = np.array(without)
    error = np.sqrt((count - 1) / count * np.square(values - values.mean()).sum())
    reach = float(error * stats.t.ppf(0.975, count - 1))
    return Estimate(value, value - reach, value + reach)


def mean_of_clips(values: Sequence[float], groups: Sequence[int]) -> Estimate:
    """Mean over clips, nan left out, with its interval over groups of clips.

    Args:
        values: of each clip; groups: the group of each.
    """
    zero = torch.zeros(2, dtype=torch.float64)
    parts: dict[int, Tensor] = {}
    for value, group in zip(values, groups):
        if np.isfinite(value):
            parts[group] = parts.get(group, zero) + torch.tensor([value, 1.0], dtype=torch.float64)
    if not parts:
        return Estimate(float("nan"))
    return jackknife(list(parts.values()), lambda sums: float(sums[0] / sums[1]))
