"""Units of a stream of CTC frames, each as soon as it is over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .alignments import Interval
from .ctc_decoding import GreedyDecoder

# A unit is over where no symbol follows it for so long, or when it has lasted so long.
SILENT_SECONDS = 1.0
MOST_SECONDS = 30.0


class UnitStream:
    """Greedy decoding of frames that come bit by bit.

    A unit is given when its mark, the next unit or a second of blanks follows. Only the frames of a unit that is not
    over are kept. The units are those of ``GreedyDecoder.decode`` of all frames, but for those cut by a second of
    blanks, or that are longer than half a minute.

    Args:
        decoder: knows the symbols; frames_per_second: of the frames.
    """

    def __init__(self, decoder: GreedyDecoder, frames_per_second: float):
        self._decoder = decoder
        self._silent, self._most = (round(s * frames_per_second) for s in (SILENT_SECONDS, MOST_SECONDS))
        self._kept: list[np.ndarray] = []
        self._first = 0  # number of the first frame that is kept

    def push(self, log_probs: np.ndarray, is_last: bool = False) -> list[Interval]:
        """Units that are over, in their order, with frames counted from the beginning of the stream.

        Args:
            log_probs: (T, symbols) natural-log probabilities of the next frames; is_last: no more will come.
        """
        self._kept.append(log_probs)
        frames = np.concatenate(self._kept)
        units, is_open = self._decoder.units(frames)
        last = units[-1] if is_open and not is_last else None
        if last and len(frames) - last.end < self._silent and len(frames) - last.start < self._most:
            over, rest = units[:-1], int(last.start)  # marks and blanks before it say no more
        else:
            over, rest = units, len(frames)
        first = self._first
        self._kept, self._first = [frames[rest:]], first + rest
        return [replace(unit, start=unit.start + first, end=unit.end + first) for unit in over]
