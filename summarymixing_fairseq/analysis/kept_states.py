"""States of a corpus on disk in half precision: computed once, and read place by place by every measure.

A folder holds PLACE.f16, the frames of all clips one after the other, and index.json, which is written last: without it
the folder is not whole. Measures see float32.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.clip_states import check_has_frame
from ..data.manifest import Clip
from ..data.reading import pad_batch, read_in_batches
from ..modules.filterbank import LogMelFilterbank
from ..system.errors import InputError
from ..system.files import atomic_write
from ..system.strict_json import to_json
from .states import evaluating, states_of_batch

INDEX = "index.json"
MEL = "mel"  # the place of log-mel energies, which states are compared with


@dataclass(frozen=True)
class Index:
    """What a folder of kept states holds.

    Attributes:
        key: of the encoder, the audio and whatever else the states depend on; a folder of another key is made anew.
        widths: by place.
        order: positions of the clips, in the order of their frames.
        num_frames: of each clip, in that order.
        window_samples, shift_samples: that a frame hears, and from one frame to the next, at 16 kHz.
    """

    key: str
    widths: dict[str, int]
    order: list[int]
    num_frames: list[int]
    window_samples: int
    shift_samples: int


class KeptStates:
    """The frames of a corpus by place.

    Args:
        folder: as ``keep_states`` leaves it.

    Attributes:
        index: see ``Index``; clip_of_frame: (N,) int64, the position of each frame's clip; starts: (clips + 1,) where
            the frames of each clip in ``index.order`` begin.
    """

    def __init__(self, folder: Path, index: Index):
        self._folder, self.index = folder, index
        self.starts = np.concatenate([[0], np.cumsum(index.num_frames)])
        self.clip_of_frame = np.repeat(np.array(index.order, np.int64), index.num_frames)

    @property
    def places(self) -> list[str]:
        """All that were kept."""
        return list(self.index.widths)

    def nearest_rows(self, rows: np.ndarray, other: KeptStates) -> np.ndarray:
        """Of each of some frames, the row of another encoder's frame whose centre lies nearest, in the same clip.

        Args:
            rows: (n,) of this encoder; other: of the same clips.
        """
        starts, counts = (np.zeros(len(self.index.order), np.int64) for _ in range(2))  # of the other's clips
        starts[other.index.order], counts[other.index.order] = other.starts[:-1], other.index.num_frames
        place_of_clip = np.zeros(len(self.index.order), np.int64)
        place_of_clip[self.index.order] = self.starts[:-1]
        clips = self.clip_of_frame[rows]
        centres = (rows - place_of_clip[clips]) * self.index.shift_samples + self.index.window_samples / 2
        nearest = np.rint((centres - other.index.window_samples / 2) / other.index.shift_samples).astype(np.int64)
        return starts[clips] + nearest.clip(0, counts[clips] - 1)

    def frames(self, place: str, rows: slice | np.ndarray | None = None) -> Tensor:
        """(N, width) float32, or only some rows of it.

        Raises:
            InputError: for a place that was not kept.
        """
        if place not in self.index.widths:
            raise InputError(f"{place}: not among the places that were kept ({', '.join(self.places)})")
        shape = (len(self.clip_of_frame), self.index.widths[place])
        kept = np.memmap(self._folder / f"{place}.f16", np.float16, "r", shape=shape)
        return torch.from_numpy(np.asarray(kept if rows is None else kept[rows], np.float32))


def keep_states(
    encoder: Any, clips: Sequence[Clip], places: Sequence[str], folder: Path, key: str, batch_seconds: float
) -> KeptStates:
    """Run the encoder over clips and keep its states; nothing is run where they are kept already.

    Args:
        encoder: an ``Encoder``; places: of ``places_of``, or ``mel``: the log-mel energies at each frame's centre.
        key: see ``Index``; batch_seconds: of a padded batch.

    Raises:
        InputError: for a clip that cannot be read or is too short for a frame, states that are not finite in half
            precision, and a disk that is full. The folder is gone then.
    """
    known = _read_index(folder / INDEX)
    if known is not None and known.key == key and set(places) <= set(known.widths):
        return KeptStates(folder, known)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)  # where this ends in an error
        try:
            index = _compute(encoder, clips, places, folder, key, batch_seconds)
        except OSError as error:
            if error.filename is not None:
                raise
            raise InputError(f"{folder} cannot be written: {error.strerror or error}") from None
        with atomic_write(folder / INDEX) as file:
            file.write(to_json(asdict(index)))
        undo.pop_all()
    return KeptStates(folder, index)


def _compute(
    encoder: Any, clips: Sequence[Clip], places: Sequence[str], folder: Path, key: str, batch_seconds: float
) -> Index:
    """Write the states; see ``keep_states``."""
    device = next(encoder.parameters()).device
    order: list[int] = []
    num_frames: list[int] = []
    widths: dict[str, int] = {}
    filterbank = LogMelFilterbank()
    window = encoder.min_samples()
    shift = encoder.min_samples(2) - window
    with ExitStack() as opened, evaluating(encoder):
        files = {place: opened.enter_context(open(folder / f"{place}.f16", "wb")) for place in places}
        for batch, waves in read_in_batches(clips, batch_seconds):
            for i, wave in zip(batch, waves):
                check_has_frame(clips[i], len(wave), window)
            order += batch
            lengths = encoder.output_lengths(torch.tensor([len(wave) for wave in waves])).tolist()
            num_frames += lengths
            states = states_of_batch(encoder, *pad_batch(waves, device), [p for p in places if p != MEL])
            if MEL in places:
                mels = [_mel(filterbank, wave, n, window, shift) for wave, n in zip(waves, lengths)]
                states[MEL] = torch.cat(mels)
            for place, state in states.items():
                half = state.half()
                if not bool(torch.isfinite(half).all()):
                    raise InputError(_not_finite(place, state, [clips[i] for i in batch], lengths))
                widths[place] = half.size(1)
                files[place].write(half.cpu().numpy().data)
    return Index(key, widths, order, num_frames, window, shift)


def _not_finite(place: str, state: Tensor, clips: Sequence[Clip], lengths: Sequence[int]) -> str:
    of_clips = zip(clips, state.half().split(list(lengths)))
    path = next(clip.path for clip, frames in of_clips if not bool(torch.isfinite(frames).all()))
    return (
        f"{path}: its states at {place} are not finite numbers of half precision: leave it out if it is the only one, "
        "otherwise the checkpoint is broken"
    )


def _mel(filterbank: LogMelFilterbank, wave: np.ndarray, num_frames: int, window: int, shift: int) -> Tensor:
    """(num_frames, bins): the filterbank's frame that lies nearest to the centre of each of the encoder's."""
    energies = filterbank(torch.from_numpy(wave)[None])[0]
    centres = torch.arange(num_frames) * shift + (window - filterbank.window_samples) / 2
    return energies[(centres / filterbank.shift_samples).round().long().clamp(0, len(energies) - 1)]


def _read_index(path: Path) -> Index | None:
    """None where there is none that can be used."""
    try:
        return Index(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
