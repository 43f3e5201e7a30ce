"""States of a corpus on disk in half precision while `analyse` runs: read place by place by every measure.

A folder holds PLACE.f16, the frames of all clips one after the other. Measures see float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.clip_states import states_of_clips
from ..data.frame_times import FrameTimes
from ..data.manifest import Clip
from ..data.reading import pad_batch
from ..modules.filterbank import LogMelFilterbank
from ..system.errors import InputError
from ..system.finite import is_finite
from .states import evaluating, states_of_batch

MEL = "mel"  # the place of log-mel energies, which states are compared with


class KeptStates:
    """The frames of a corpus by place.

    Args:
        folder: as ``keep_states`` leaves it; widths: by place.
        order: positions of the clips, in the order of their frames; num_frames: of each clip, in that order.
        times: of the encoder's frames.

    Attributes:
        clip_of_frame: (N,) int64, the position of each frame's clip.
        starts: (clips + 1,) where the frames of each clip in ``order`` begin.
    """

    def __init__(
        self, folder: Path, widths: Mapping[str, int], order: list[int], num_frames: list[int], times: FrameTimes
    ):
        self._folder, self._widths, self.order, self.num_frames, self.times = folder, widths, order, num_frames, times
        self.starts = np.concatenate([[0], np.cumsum(num_frames)])
        self.clip_of_frame = np.repeat(np.array(order, np.int64), num_frames)

    @property
    def places(self) -> list[str]:
        """All that were kept."""
        return list(self._widths)

    def nearest_rows(self, rows: np.ndarray, other: KeptStates) -> np.ndarray:
        """Of each of some frames, the row of another encoder's frame whose centre lies nearest, in the same clip.

        Args:
            rows: (n,) of this encoder; other: of the same clips.
        """
        starts, counts = (np.zeros(len(self.order), np.int64) for _ in range(2))  # of the other's clips
        starts[other.order], counts[other.order] = other.starts[:-1], other.num_frames
        place_of_clip = np.zeros(len(self.order), np.int64)
        place_of_clip[self.order] = self.starts[:-1]
        clips = self.clip_of_frame[rows]
        centres = (rows - place_of_clip[clips]) * self.times.shift_samples + self.times.window_samples / 2
        nearest = np.rint((centres - other.times.window_samples / 2) / other.times.shift_samples).astype(np.int64)
        return starts[clips] + nearest.clip(0, counts[clips] - 1)

    def frames(self, place: str, rows: slice | np.ndarray | None = None) -> Tensor:
        """(N, width) float32, or only some rows of it.

        Raises:
            InputError: for a place that was not kept.
        """
        if place not in self._widths:
            raise InputError(f"{place}: not among the places that were kept ({', '.join(self.places)})")
        shape = (len(self.clip_of_frame), self._widths[place])
        kept = np.memmap(self._folder / f"{place}.f16", np.float16, "r", shape=shape)
        return torch.from_numpy(np.asarray(kept if rows is None else kept[rows], np.float32))


def keep_states(
    encoder: Any, clips: Sequence[Clip], places: Sequence[str], folder: Path, batch_seconds: float
) -> KeptStates:
    """Run the encoder over clips and keep its states.

    Args:
        encoder: an ``Encoder``; places: of ``places_of``, or ``mel``: the log-mel energies at each frame's centre.
        folder: new; batch_seconds: of a padded batch.

    Raises:
        InputError: as ``states_of_clips``, of states in half precision, and for a disk that is full.
    """
    device, times = next(encoder.parameters()).device, FrameTimes.of(encoder)
    filterbank = LogMelFilterbank()

    def of_batch(waves: list[np.ndarray]) -> list[dict[str, Tensor]]:
        lengths = encoder.output_lengths(torch.tensor([len(wave) for wave in waves])).tolist()
        states = states_of_batch(encoder, *pad_batch(waves, device), [place for place in places if place != MEL])
        split = {}
        for place, state in states.items():
            half = state.half().cpu()
            if not is_finite(half) and is_finite(state):
                raise InputError(f"states at {place} are too large for half precision: name other --places")
            split[place] = half.split(lengths)
        if MEL in places:
            split[MEL] = tuple(_mel(filterbank, wave, n, times).half() for wave, n in zip(waves, lengths))
        return [{place: pieces[i] for place, pieces in split.items()} for i in range(len(waves))]

    order: list[int] = []
    num_frames: list[int] = []
    widths: dict[str, int] = {}
    folder.mkdir(parents=True)
    try:
        with ExitStack() as opened, evaluating(encoder):
            files = {place: opened.enter_context(open(folder / f"{place}.f16", "wb")) for place in places}
            for i, states in states_of_clips(clips, of_batch, times.window_samples, batch_seconds):
                order.append(i)
                num_frames.append(len(next(iter(states.values()))))
                for place, state in states.items():
                    widths[place] = state.size(1)
                    files[place].write(state.numpy().data)
    except OSError as error:
        if error.filename is not None:
            raise
        raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
    return KeptStates(folder, widths, order, num_frames, times)


def _mel(filterbank: LogMelFilterbank, wave: np.ndarray, num_frames: int, times: FrameTimes) -> Tensor:
    """(num_frames, bins): the filterbank's frame that lies nearest to the centre of each of the encoder's."""
    energies = filterbank(torch.from_numpy(wave)[None])[0]
    centres = torch.arange(num_frames) * times.shift_samples + (times.window_samples - filterbank.window_samples) / 2
    return energies[(centres / filterbank.shift_samples).round().long().clamp(0, len(energies) - 1)]
