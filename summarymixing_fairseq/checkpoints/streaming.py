"""Speech to text while it is spoken: samples in, new words out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.alignments import Interval
from ..data.audio import as_waveform
from ..data.ctc_decoding import GreedyDecoder, Unit
from ..data.ctc_stream import UnitStream
from ..data.frame_times import FrameTimes
from ..models.stream import StreamStep
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .fine_tuned import FineTuned, load_fine_tuned

CHUNK_MS = 640


class FrameStream:
    """Log-probabilities of a recogniser's frames, chunk by chunk.

    Args:
        fine_tuned: a model that was trained with ``model.streaming=true``, on its device.
        chunk_ms: length of a chunk, a multiple of the time from one frame to the next.

    Attributes:
        frame_times: when each frame is.

    Raises:
        InputError: for a model that does not stream, or a chunk of another length.
    """

    def __init__(self, fine_tuned: FineTuned, chunk_ms: int = CHUNK_MS):
        model: Any = fine_tuned.model.w2v_encoder
        if not model.w2v_model.cfg.streaming:
            raise InputError("this model does not stream: it was not pre-trained with model.streaming=true")
        if fine_tuned.normalize:
            raise InputError("this model does not stream: task.normalize=true needs the whole clip")
        self._step = StreamStep(model.w2v_model, model.proj)
        self._device, self._num_symbols = model.proj.weight.device, model.proj.out_features
        frontend = model.w2v_model.feature_extractor
        window = frontend.min_samples()
        self.frame_times = FrameTimes(frontend.min_samples(2) - window, window)
        shift_ms = self.frame_times.shift_samples * 1000 // SAMPLE_RATE_HZ
        if chunk_ms < shift_ms or chunk_ms % shift_ms:
            raise InputError(f"chunks of {chunk_ms} ms: they must be a multiple of {shift_ms} ms, a frame")
        self._chunk_frames = chunk_ms // shift_ms
        self.reset()

    def reset(self) -> None:
        """Begin another stream."""
        self._waiting = np.zeros(0, np.float32)  # samples that the next frames hear
        self._state, self._heard = self._step.first_state(), 0

    def push(self, waveform: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Frames of the chunks that these samples complete.

        Args:
            waveform: (num_samples,) float32 at 16 kHz, full scale 1: what follows on the samples before.
            is_last: no more will come: the last chunk may be shorter.

        Returns:
            (frames, symbols) float32, natural logarithms.
        """
        self._waiting = np.concatenate([self._waiting, waveform])
        shift, window = self.frame_times.shift_samples, self.frame_times.window_samples
        found = [np.zeros((0, self._num_symbols), np.float32)]
        while True:
            num_frames = min(max((len(self._waiting) - window) // shift + 1, 0), self._chunk_frames)
            if num_frames < (1 if is_last else self._chunk_frames):
                return np.concatenate(found)
            found.append(self._next(self._waiting[: (num_frames - 1) * shift + window]))
            self._waiting = self._waiting[num_frames * shift :]

    def whole(self, waveform: np.ndarray) -> np.ndarray:
        """Frames of a whole recording: (num_samples,) float32 at 16 kHz -> (frames, symbols)."""
        self.reset()
        return self.push(waveform, is_last=True)

    @torch.inference_mode()
    def _next(self, samples: np.ndarray) -> np.ndarray:
        waveform = torch.from_numpy(samples)[None].to(self._device)
        heard = torch.tensor(self._heard, device=self._device)
        scores, *self._state = self._step(waveform, heard, *self._state)
        self._heard += scores.size(1)
        log_probs: np.ndarray = scores[0].float().log_softmax(-1).cpu().numpy()
        return log_probs


class StreamingRecogniser:
    """Words as they are spoken: `load_streaming_recogniser` makes it.

    A word is given once it is over: see ``UnitStream``. Memory does not grow with the stream.

    Args:
        fine_tuned, chunk_ms: see ``FrameStream``.
    """

    def __init__(self, fine_tuned: FineTuned, chunk_ms: int = CHUNK_MS):
        self._frames = FrameStream(fine_tuned, chunk_ms)
        self._decoder = GreedyDecoder(fine_tuned.dictionary, fine_tuned.symbols)
        self._units = UnitStream(self._decoder)

    def push(self, samples: np.ndarray) -> list[Interval]:
        """New words, or other units that the model spells, with their times from the beginning of the stream.

        Args:
            samples: (num_samples,) at 16 kHz, what follows on those before: of floats with full scale 1, or int16.

        Raises:
            InputError: for an array that is no audio.
        """
        return self._words(self._frames.push(as_waveform(np.asarray(samples), SAMPLE_RATE_HZ)))

    def finish(self) -> list[Interval]:
        """The last words. What is pushed next begins another stream."""
        words = self._words(self._frames.push(np.zeros(0, np.float32), is_last=True), is_last=True)
        self._frames.reset()
        self._units = UnitStream(self._decoder)
        return words

    def _words(self, log_probs: np.ndarray, is_last: bool = False) -> list[Interval]:
        return [self._interval(unit) for unit in self._units.push(log_probs, is_last)]

    def _interval(self, unit: Unit) -> Interval:
        return Interval(unit.text, *self._frames.frame_times.span(unit.start, unit.end), unit.confidence)


def load_streaming_recogniser(
    path: str | Path, device: str | torch.device = "cpu", *, chunk_ms: int = CHUNK_MS
) -> StreamingRecogniser:
    """The streaming recogniser of a checkpoint fine-tuned with CTC from a model with ``model.streaming=true``.

    Raises:
        InputError: for a file that cannot be read, or a model that does not stream.
    """
    fine_tuned = load_fine_tuned(Path(path))
    fine_tuned.model.to(device)
    return StreamingRecogniser(fine_tuned, chunk_ms)
