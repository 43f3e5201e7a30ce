"""Speech to text by a fine-tuned checkpoint: audio of any length in, text with times out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.alignments import Alignment
from ..data.audio import Audio, waveform_of
from ..data.ctc_decoding import BeamDecoder, GreedyDecoder, unit_of
from ..data.ctc_path import heard_in
from ..data.forced_alignment import aligned_symbols
from ..data.frame_times import FrameTimes
from ..data.manifest import Clip
from ..data.reading import batches_by_length, pad_batch, read_in_batches
from ..data.transcripts import Hypothesis, Transcript
from ..data.windows import WINDOW_SECONDS, by_windows
from ..modules.mixing import most_frames
from ..modules.normalise import normalise_waveform
from ..system.errors import InputError, enough_memory, is_out_of_memory
from ..system.machine import free_memory
from ..system.precision import autocast
from ..system.units import SAMPLE_RATE_HZ
from .fine_tuned import FineTuned, load_fine_tuned
from .streaming import FrameStream

BATCH_SECONDS = 120.0
# Memory of one pass for each frame, in float32 numbers for each channel of the encoder and its front end. Measured: 24
# and 20 of a model of 144 channels, at 10 and 20 minutes.
_NUMBERS_PER_CHANNEL = 30
# Share of the free memory that one pass may fill.
_SHARE = 0.5


class Recogniser:
    """A fine-tuned model and its decoder: ``load_recogniser`` makes it.

    Args:
        fine_tuned: the model, on its device; decoder: of its frames.
        precision: of products, one of ``system.precision.PRECISIONS``.
        one_pass_seconds: longer recordings are heard by windows of 30 s that overlap; None: those that do not fit in
            memory.
        stream: hears recordings chunk by chunk, in float32.

    Attributes:
        min_seconds: of the shortest clip that has a frame.
        frame_times: when each frame is.
        chunk_ms: of a stream; None: whole recordings are heard.
    """

    def __init__(
        self,
        fine_tuned: FineTuned,
        decoder: GreedyDecoder | BeamDecoder,
        precision: str = "float32",
        one_pass_seconds: float | None = None,
        stream: FrameStream | None = None,
    ):
        self.model, self.dictionary, self.normalize = fine_tuned, fine_tuned.dictionary, fine_tuned.normalize
        self.decoder, self.precision, self.one_pass_seconds = decoder, precision, one_pass_seconds
        self._stream, self.chunk_ms = stream, None if stream is None else stream.chunk_ms
        self.unit = "word" if isinstance(decoder, BeamDecoder) else fine_tuned.symbols.unit
        self.symbols = fine_tuned.symbols
        self._frontend = fine_tuned.encoder.model.feature_extractor
        self.frame_times = FrameTimes.of(self._frontend)
        self.min_seconds = self.frame_times.window_samples / SAMPLE_RATE_HZ

    def transcribe(self, audio: Audio, *, sample_rate_hz: int = SAMPLE_RATE_HZ, n_best: int = 1) -> Transcript:
        """What was said in a clip: ``transcribe_batch`` of one."""
        return self.transcribe_batch([audio], sample_rate_hz=sample_rate_hz, n_best=n_best)[0]

    def transcribe_batch(
        self,
        audio: Sequence[Audio],
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        n_best: int = 1,
        batch_seconds: float = BATCH_SECONDS,
    ) -> list[Transcript]:
        """What was said in clips, of any length each.

        Args:
            audio: paths of files, or waveforms, (num_samples,) or (num_samples, channels), of floats with full scale 1,
                int16 or int32.
            sample_rate_hz: of the waveforms; a file knows its own.
            n_best: hypotheses of each clip at most. batch_seconds: of a padded batch.

        Returns:
            One for each clip, in their order; the text of a clip too short for one frame is empty.

        Raises:
            InputError: for a file that cannot be read, an array that is no audio, ``n_best`` below 1, or scores that
                are not finite.
        """
        if n_best < 1:
            raise InputError(f"n_best={n_best}: must be at least 1")
        waveforms = [waveform_of(one, sample_rate_hz) for one in audio]
        found: dict[int, Transcript] = {}
        for batch in batches_by_length([len(one) for one in waveforms], int(batch_seconds * SAMPLE_RATE_HZ)):
            for i, log_probs in zip(batch, self.log_probs([waveforms[i] for i in batch])):
                _check_finite(log_probs, audio[i])
                found[i] = self.transcript(log_probs, len(waveforms[i]), n_best)
        return [found[i] for i in range(len(waveforms))]

    def align(self, audio: Audio, text: str, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Alignment:
        """When each word and letter of a text is heard.

        Args:
            audio: path of a file, or a waveform, as of ``transcribe_batch``, of any length.
            text: words between spaces; of a model of pieces or phones these, as in its label files.

        Returns:
            Tiers ``words``, if the symbols spell words, and ``letters`` (``phones``, ``pieces``, ...).

        Raises:
            InputError: as ``transcribe_batch``, and for a text that is empty, has symbols that the dictionary lacks, or
                does not fit in the frames.
        """
        waveform = waveform_of(audio, sample_rate_hz)
        labels = self.labels_of(text)
        (log_probs,) = self.log_probs([waveform])
        _check_finite(log_probs, audio)
        return self.align_frames(log_probs, len(waveform), labels)

    def labels_of(self, text: str) -> list[int]:
        """Indices of the symbols of a text.

        Raises:
            InputError: for an empty text, or one with symbols that the dictionary lacks.
        """
        symbols = self.symbols.spell(text)
        if not symbols:
            raise InputError("the text is empty: there is nothing to align")
        known = set(self.dictionary.symbols[self.dictionary.nspecial :])
        lacking = sorted(set(symbols) - known)
        if lacking:
            shown = ", ".join(map(repr, lacking[:5])) + (", ..." if len(lacking) > 5 else "")
            some = " ".join(sorted(known)[:12])
            raise InputError(f"the dictionary lacks {shown} of the text: write it with its symbols ({some} ...)")
        return [self.dictionary.index(symbol) for symbol in symbols]

    def align_frames(self, log_probs: np.ndarray, num_samples: int, labels: Sequence[int]) -> Alignment:
        """As ``align``, of what ``frames_of`` and ``labels_of`` give."""
        heard = heard_in(aligned_symbols(log_probs, labels), log_probs)
        symbols = [self.dictionary[one.symbol] for one in heard]
        units = [unit_of(text, heard[a:b]) for text, a, b in self.symbols.units_of(symbols)]
        seconds = num_samples / SAMPLE_RATE_HZ
        tiers = {f"{self.symbols.unit}s": tuple(self.frame_times.timed(unit, seconds) for unit in units)}
        if self.symbols.unit == "word":
            named = "letters" if self.symbols.post_process == "letter" else "pieces"
            marks = set(self.symbols.spell("x")[1:])
            letters = [unit_of(text, [one]) for text, one in zip(symbols, heard) if text not in marks]
            tiers[named] = tuple(self.frame_times.timed(unit, seconds) for unit in letters)
        return Alignment(tiers, seconds, text=" ".join(unit.label for unit in units))

    def frames_of(
        self,
        clips: Sequence[Clip],
        batch_seconds: float = BATCH_SECONDS,
        on_bad: Callable[[int, InputError], None] | None = None,
    ) -> Iterator[tuple[int, np.ndarray, int]]:
        """Frames of the clips of a manifest, with a progress bar.

        Args:
            batch_seconds: of a padded batch.
            on_bad: takes the position of a clip that cannot be read or whose scores are not finite, and the error, in
                place of an end.

        Yields:
            position in ``clips``, frames as of ``log_probs``, and samples of the clip.

        Raises:
            InputError: for a bad clip, without ``on_bad``.
        """
        for positions, waveforms in read_in_batches(clips, batch_seconds, on_bad):
            for i, log_probs, waveform in zip(positions, self.log_probs(waveforms), waveforms):
                try:
                    _check_finite(log_probs, clips[i].path)
                except InputError as error:
                    if on_bad is None:
                        raise
                    on_bad(i, error)
                    continue
                yield i, log_probs, len(waveform)

    def log_probs(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Natural-log probabilities of the symbols in each frame, which may not be finite.

        Args:
            waveforms: (num_samples,) float32 at 16 kHz each.

        Returns:
            (frames, symbols) float32 of each; no frames of a clip that is too short.

        Raises:
            InputError: where memory does not suffice for the batch.
        """
        shortest = self._frontend.min_samples()
        # of a whole recording, whether it is heard whole or not
        heard = {i: self._normalised(one) for i, one in enumerate(waveforms) if len(one) >= shortest}
        found = [np.zeros((0, len(self.dictionary)), np.float32)] * len(waveforms)
        if heard:
            longest = max(map(len, heard.values())) / SAMPLE_RATE_HZ
            with enough_memory(f"{len(heard)} clips of up to {longest:.0f} s at a time: take less"):
                scores = self._of_any_length(list(heard.values()))
            for i, log_probs in zip(heard, scores):
                found[i] = log_probs
        return found

    def _normalised(self, waveform: np.ndarray) -> np.ndarray:
        if not self.normalize:
            return waveform
        return normalise_waveform(torch.from_numpy(waveform)[None], None)[0].numpy()

    def _of_any_length(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        if self._stream is not None:
            return [self._stream.whole(waveform) for waveform in waveforms]
        longest = max(map(len, waveforms))
        if longest <= self._most_samples() or longest <= WINDOW_SECONDS * SAMPLE_RATE_HZ:
            try:
                return self._in_one_pass(waveforms)
            except RuntimeError as error:
                if not is_out_of_memory(error) or longest <= WINDOW_SECONDS * SAMPLE_RATE_HZ:
                    raise
        return [self._by_windows(waveform) for waveform in waveforms]

    def _by_windows(self, waveform: np.ndarray) -> np.ndarray:
        if len(waveform) <= WINDOW_SECONDS * SAMPLE_RATE_HZ:
            return self._in_one_pass([waveform])[0]
        num_frames = int(self._frontend.output_lengths(torch.tensor(len(waveform))))
        return by_windows(waveform, num_frames, self.frame_times, self._in_one_pass)

    def _most_samples(self) -> float:
        """Samples of the longest recording that is heard in one pass."""
        return min(most_frames(self.model) * self.frame_times.shift_samples, self._most_in_memory())

    def _most_in_memory(self) -> float:
        if self.one_pass_seconds is not None:
            return self.one_pass_seconds * SAMPLE_RATE_HZ
        device = self._device()
        if device.type == "cuda":  # what torch keeps from earlier passes is free as well
            kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            free: int | None = torch.cuda.mem_get_info(device)[0] + kept
        else:
            free = free_memory()
        if free is None:
            return float("inf")
        return _SHARE * free / self._bytes_per_frame() * self.frame_times.shift_samples

    def _bytes_per_frame(self) -> int:
        config = self.model.encoder.model.cfg
        channels = max(config.encoder_embed_dim, config.encoder_ffn_embed_dim // 4, config.frontend_channels)
        return 4 * _NUMBERS_PER_CHANNEL * channels

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.inference_mode()
    def _in_one_pass(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """As ``log_probs``, of clips that all have a frame and that are normalised."""
        device = self._device()
        source, padding_mask = pad_batch(waveforms, device)
        with autocast(self.precision, device.type):
            scores = self.model(source, padding_mask)  # (T, B, symbols)
        frames: np.ndarray = scores.float().log_softmax(-1).transpose(0, 1).cpu().numpy()
        lengths = self._frontend.output_lengths(torch.tensor([len(waveform) for waveform in waveforms])).tolist()
        return [clip[:length] for clip, length in zip(frames, lengths)]

    def transcript(self, log_probs: np.ndarray, num_samples: int, n_best: int = 1) -> Transcript:
        """What was said, of what ``frames_of`` gives; ``n_best``: hypotheses at most."""
        seconds = num_samples / SAMPLE_RATE_HZ
        hypotheses = (
            Hypothesis(tuple(self.frame_times.timed(word, seconds) for word in one.words), one.score)
            for one in self.decoder.decode(log_probs, n_best)
        )
        return Transcript(tuple(hypotheses), seconds, self.unit)


def _check_finite(log_probs: np.ndarray, audio: Audio) -> None:
    if not np.isfinite(log_probs).all():
        name = str(audio) if isinstance(audio, (str, os.PathLike)) else "a waveform"
        raise InputError(
            f"{name}: its scores are not finite numbers: leave it out if it is the only one, try "
            "--precision float32, otherwise the checkpoint is broken"
        )


def load_recogniser(
    path: str | Path,
    device: str | torch.device = "cpu",
    *,
    language_model: Path | None = None,
    lexicon: Path | None = None,
    beam_size: int = 100,
    lm_weight: float = 2.0,
    word_score: float = 0.0,
    precision: str = "float32",
    one_pass_seconds: float | None = None,
    streamed: bool = False,
    chunk_ms: int | None = None,
) -> Recogniser:
    """The recogniser of a checkpoint fine-tuned with CTC: ``load_recogniser(path).transcribe("meeting.mp3").text``.

    Args:
        language_model: ARPA file or KenLM binary, for a beam search (extra ``lm``); greedy without. lexicon, beam_size,
            lm_weight, word_score: of that search, see ``BeamDecoder``; `summarymixing decode --tune` finds the weights.
        precision: of products: float32, bfloat16, float16 or auto.
        one_pass_seconds: see ``Recogniser``.
        streamed: hear recordings chunk by chunk, in float32, by a model with ``model.streaming=true``; chunk_ms: see
            ``FrameStream``.

    Raises:
        InputError: for a file that cannot be read, a checkpoint that is not of CTC (``load_fine_tuned``), or one that
            does not stream where it should; for an option of use with ``language_model`` or ``streamed`` alone.
    """
    if lexicon is not None and language_model is None:
        raise InputError("lexicon is of use with language_model only")
    if chunk_ms is not None and not streamed:
        raise InputError("chunk_ms is of use with streamed=True only")
    fine_tuned = load_fine_tuned(Path(path)).to(device)
    decoder: GreedyDecoder | BeamDecoder
    if language_model is None:
        decoder = GreedyDecoder(fine_tuned.dictionary, fine_tuned.symbols)
    else:
        decoder = BeamDecoder(fine_tuned.dictionary, Path(language_model), lexicon, beam_size, lm_weight, word_score)
    stream = FrameStream(fine_tuned, chunk_ms) if streamed else None
    return Recogniser(fine_tuned, decoder, precision, one_pass_seconds, stream)
