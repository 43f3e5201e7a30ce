"""Speech to text while it is spoken: samples in, new words out."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch

from ..data.alignments import Interval
from ..data.audio import as_waveform
from ..data.ctc_decoding import GreedyDecoder
from ..data.ctc_stream import UnitStream
from ..data.frame_times import FrameTimes
from ..models.stream import StreamStep
from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .fine_tuned import FineTuned, load_fine_tuned

logger = logging.getLogger(__name__)


class FrameStream:
    """Log-probabilities of a recogniser's frames, chunk by chunk.

    Args:
        fine_tuned: a model that was trained with ``model.streaming=true``, on its device.
        chunk_ms: length of a chunk, a multiple of the time from one frame to the next; None: the longest chunk that
            its training drew.

    Attributes:
        chunk_ms, chunk_frames: length of a chunk; frame_times: when each frame is.

    Raises:
        InputError: for a model that does not stream, or a chunk of another length.
    """

    def __init__(self, fine_tuned: FineTuned, chunk_ms: int | None = None):
        model = fine_tuned.encoder.model
        if not model.cfg.streaming:
            raise InputError("this model does not stream: it was not pre-trained with model.streaming=true")
        if fine_tuned.normalize:
            raise InputError("this model does not stream: task.normalize=true needs the whole clip")
        self._step = StreamStep(model, fine_tuned.head)
        self._device, self._num_symbols = fine_tuned.head.weight.device, fine_tuned.head.out_features
        self.frame_times = FrameTimes.of(model.feature_extractor)
        shift_ms = self.frame_times.shift_samples * 1000 // SAMPLE_RATE_HZ
        low, high = (shift_ms * frames for frames in model.cfg.chunk_frames)
        self.chunk_ms = high if chunk_ms is None else chunk_ms
        if self.chunk_ms < shift_ms or self.chunk_ms % shift_ms:
            raise InputError(f"chunks of {chunk_ms} ms: they must be a multiple of {shift_ms} ms, a frame")
        if not low <= self.chunk_ms <= high:
            logger.warning("chunks of %d ms: the model was trained with %d to %d ms", self.chunk_ms, low, high)
        self.chunk_frames = self.chunk_ms // shift_ms
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

        Raises:
            InputError: for scores that are not finite.
        """
        self._waiting = np.concatenate([self._waiting, waveform])
        shift, window = self.frame_times.shift_samples, self.frame_times.window_samples
        found = [np.zeros((0, self._num_symbols), np.float32)]
        while True:
            num_frames = min(max((len(self._waiting) - window) // shift + 1, 0), self.chunk_frames)
            if num_frames < (1 if is_last else self.chunk_frames):
                self._waiting = self._waiting.copy()  # a view would keep the whole recording
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
        log_probs = scores[0].log_softmax(-1).cpu().numpy()
        if not np.isfinite(log_probs).all():
            raise InputError("the scores of the stream are not finite numbers: the checkpoint is broken")
        return log_probs


class StreamingRecogniser:
    """Words as they are spoken: `load_streaming_recogniser` makes it.

    A word is given once it is over: when its mark or the next word is heard, or after a second without a letter. Memory
    does not grow with the stream.
    """

    def __init__(self, fine_tuned: FineTuned, chunk_ms: int | None = None):
        self._frames = FrameStream(fine_tuned, chunk_ms)
        self._decoder = GreedyDecoder(fine_tuned.dictionary, fine_tuned.symbols)
        self._units = self._unit_stream()

    def push(self, samples: np.ndarray) -> list[Interval]:
        """New words, or other units that the model spells, with their times from the beginning of the stream.

        Args:
            samples: (num_samples,) at 16 kHz, what follows on those before: of floats with full scale 1, or int16.

        Raises:
            InputError: for an array that is no audio.
        """
        return self._words(self._frames.push(as_waveform(samples, SAMPLE_RATE_HZ)))

    def finish(self) -> list[Interval]:
        """The last words. What is pushed next begins another stream."""
        words = self._words(self._frames.push(np.zeros(0, np.float32), is_last=True), is_last=True)
        self._frames.reset()
        self._units = self._unit_stream()
        return words

    def _words(self, log_probs: np.ndarray, is_last: bool = False) -> list[Interval]:
        # chunk by chunk, so that words do not depend on how many samples come at a time
        size = self._frames.chunk_frames
        units = [unit for i in range(0, len(log_probs), size) for unit in self._units.push(log_probs[i : i + size])]
        if is_last:
            units += self._units.push(log_probs[:0], is_last=True)
        return [self._frames.frame_times.timed(unit) for unit in units]

    def _unit_stream(self) -> UnitStream:
        return UnitStream(self._decoder, SAMPLE_RATE_HZ / self._frames.frame_times.shift_samples)


def load_streaming_recogniser(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    chunk_ms: int | None = None,
) -> StreamingRecogniser:
    """The streaming recogniser of a checkpoint fine-tuned with CTC from a model with ``model.streaming=true``.

    Args:
        path: of the checkpoint.
        device: that computes.
        chunk_ms: milliseconds of a chunk, a multiple of the model's frame; None: the longest of its training.

    Raises:
        InputError: for a file that cannot be read, a model that does not stream, or a chunk of another length.
    """
    return StreamingRecogniser(load_fine_tuned(Path(path)).to(device), chunk_ms)
