"""Reading audio: the header of a file, or the samples of a clip as mono float32 at the rate asked for."""

from __future__ import annotations

import functools
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Union

import numpy as np
from numpy.typing import ArrayLike

from ..system.errors import InputError
from ..system.units import SAMPLE_RATE_HZ
from .headers import length_problem
from .native_messages import without_native_messages

if TYPE_CHECKING:
    from soundfile import SoundFile

# A file's path, or samples: an array or a tensor, as ``as_waveform`` takes it.
Audio = Union[str, "os.PathLike[str]", ArrayLike]
# Resampling a part: audio on either side that the filter needs, in seconds, which is then cut off.
_CONTEXT_SECONDS = 0.1
# libsndfile's seek is not exact in these (vorbis near its end, mp3 because a frame needs bits of earlier ones): they
# are decoded from their start, at 300 to 2,000 times real time.
_INEXACT_FORMATS = ("OGG", "MP3", "MPEG")
# Rates that recordings have. A header that says 1 Hz would make 16,000 samples of each.
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 768_000
# Values, frames x channels, that are decoded at a time: memory follows what a file holds, not what its header promises.
# 30 s at 16 kHz are one block.
_BLOCK_VALUES = 2**20
# A file that decodes to more than this was made to fill the memory: digital silence in FLAC gives 400 a byte.
_MOST_SAMPLES_PER_BYTE = 1_000
_MOST_SAMPLES_OF_ANY_FILE = 2**22
# What soundfile and soxr raise for a broken file. libsndfile's own errors are RuntimeErrors; TypeError: the file's name
# says that it has no header (.raw).
DECODING_ERRORS = (ArithmeticError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
# No recording is longer: libsndfile has a length of 2^63 - 1 for a flac file whose writer could not go back to say it.
_MOST_FRAMES = 2**40
# A whole file may be this much shorter than its header says: encoders of lossy formats are not exact.
TOLERANCE_SECONDS = 0.1
# Channels cancel one another where their average has less than this share of the power that it has where one channel
# speaks and the others are silent. Of two channels: where their correlation is below -0.9.
_CANCELLED_SHARE = 0.1
_CANCELLED = "channels cancel one another when averaged (one is inverted), so keep one of them"
# Float recordings may exceed full scale, which is 1, but not by 40 dB: these are integers that nobody has scaled, or no
# audio, whose features may not even be finite.
LOUDEST = 100.0
# Full scale of the integers that soundfile and scipy give.
_FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}


class AudioHeader(NamedTuple):
    """Length and rate of a file as its header says, which may promise anything."""

    num_frames: int
    sample_rate_hz: int


def read_header(path: Path | BinaryIO) -> AudioHeader:
    """The header of a file, named or open.

    Raises:
        OSError, RuntimeError, TypeError, ValueError: as ``open_audio``.
    """
    with open_audio(path) as file:
        return AudioHeader(file.frames, file.samplerate)


@contextmanager
def open_audio(path: str | Path | BinaryIO) -> Iterator[SoundFile]:
    """Open a file by its header while the block runs. Everything that reads audio files begins here.

    How many frames to read has to be said: the file counts as not seekable, though ``seek`` works (see ``_reader``).

    Raises:
        OSError, RuntimeError, TypeError, ValueError: (``DECODING_ERRORS``) for a file that is missing, is a pipe or a
            device, has no header that libsndfile knows, or a rate that no recording has.
    """
    if isinstance(path, (str, os.PathLike)):
        mode = os.stat(path).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening or reading it may never end
            raise OSError("it is a pipe or a device, not a file")
    with without_native_messages(), _reader()(path) as file:
        if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
            raise ValueError(f"its header says {file.samplerate} Hz, recordings have {MIN_RATE_HZ} to {MAX_RATE_HZ}")
        yield file


def header_problem(path: str | Path | BinaryIO, file: SoundFile, *, read_flac: bool) -> str:
    """Why a file holds more or less audio than its header says (``length_problem``), or that it does not say how much.

    Empty if all is well.

    Args:
        path: of the file, or an open one; file: ``path``, opened. ogg and mp3 are read whole, ``read_flac``: flac too.
    """
    if file.frames > _MOST_FRAMES:
        return "length not in the header (encode it again)"
    if file.format == "FLAC" and not read_flac:
        return ""
    with open(path, "rb") if isinstance(path, (str, os.PathLike)) else nullcontext(path) as opened:
        return length_problem(opened, file.format, file.frames / file.samplerate)


def read_segment(
    path: str | Path | BinaryIO,
    offset: int = 0,
    num_samples: int | None = None,
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> np.ndarray:
    """Read a file that libsndfile knows, or a part: flac and wav seek to it, ogg, opus and mp3 are decoded up to it.

    Args:
        path: of the file, or an open one.
        offset, num_samples: of the part, counted at ``sample_rate_hz`` whatever the file's own rate; None: to the end.
        sample_rate_hz: rate of what is returned.

    Returns:
        (num_samples,) float32, channels averaged, full scale = 1.

    Raises:
        InputError: for a file that is missing, unreadable, empty, not finite or far above full scale, at a rate that no
            recording has, out of proportion to its size, whose channels cancel one another, or that ends before the
            part does; read whole, for one that holds more or less than its header says.
    """
    name = path if isinstance(path, (str, os.PathLike)) else getattr(path, "name", "audio data")
    if offset < 0 or (num_samples is not None and num_samples < 0):
        raise InputError(f"{name}: there is no part at {offset} of {num_samples} samples")
    try:
        with open_audio(path) as file:
            if file.samplerate == sample_rate_hz:
                samples = _read_frames(file, offset, num_samples, _limit(path))
            else:
                samples = _read_resampled(file, offset, num_samples, sample_rate_hz, _limit(path))
            if not offset and num_samples is None:
                problem = header_problem(path, file, read_flac=True)
                if problem:
                    raise ValueError(problem)
            promised = math.ceil(file.frames * sample_rate_hz / file.samplerate) - offset
    except DECODING_ERRORS as error:
        raise InputError(f"{name} cannot be read: {_reason(path, error)}") from None
    if not len(samples):
        raise InputError(f"{name} holds no samples")
    if num_samples is not None and len(samples) < num_samples:
        raise InputError(
            f"{name} ends {num_samples - len(samples)} samples before the part at {offset} of {num_samples} does: "
            "is it truncated?"
        )
    if num_samples is None and len(samples) < promised - TOLERANCE_SECONDS * sample_rate_hz:
        raise InputError(f"{name} breaks off after {len(samples)} of {promised} samples: it is truncated or broken")
    if problem := sample_problem(samples):
        raise InputError(f"{name} holds {problem}: leave it out")
    return samples


def waveform_of(audio: Audio, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """A file or samples as ``read_segment`` and ``as_waveform`` give it; ``sample_rate_hz`` is that of the samples.

    Returns:
        (num_samples,) float32 at 16 kHz.

    Raises:
        InputError: as these two.
    """
    if isinstance(audio, (str, os.PathLike)):
        return read_segment(Path(audio))
    return as_waveform(audio, sample_rate_hz)


def as_waveform(samples: ArrayLike, sample_rate_hz: int) -> np.ndarray:
    """An array from anywhere as ``read_segment`` would give it.

    Args:
        samples: (num_samples,), or (num_samples, channels) as soundfile gives, of floats, full scale = 1, or int16 or
            int32, by their own full scale: an array, or a tensor on any device. Channels are averaged.
        sample_rate_hz: their rate.

    Returns:
        (num_samples,) float32 at 16 kHz.

    Raises:
        InputError: for another shape, channels that cancel one another, other numbers, samples that are not finite or
            far above full scale, or a rate that no recording has.
    """
    try:
        samples = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise InputError(f"a waveform that numpy does not take: {error}") from None
    if samples.ndim != 1 and not (samples.ndim == 2 and 1 <= samples.shape[1] < samples.shape[0]):
        # (channels, num_samples) may as well be a batch of clips
        raise InputError(
            f"a waveform of shape {tuple(samples.shape)}: (num_samples,) or (num_samples, channels) is needed"
        )
    if samples.dtype.kind != "f" and samples.dtype not in _FULL_SCALE:
        raise InputError(f"a waveform of {samples.dtype}: give floats, full scale = 1, or int16 or int32")
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise InputError(f"a waveform at {sample_rate_hz} Hz: recordings have {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz")
    samples = samples / _FULL_SCALE.get(samples.dtype, 1.0)
    if problem := sample_problem(samples):
        raise InputError(f"a waveform holds {problem}")
    if samples.ndim == 2:
        folding = Folding()
        samples = folding.fold(samples)
        if folding.cancels():
            raise InputError(f"a waveform's {_CANCELLED}")
    waveform = samples.astype(np.float32)
    return waveform if sample_rate_hz == SAMPLE_RATE_HZ else _resampled(waveform, sample_rate_hz, SAMPLE_RATE_HZ)


def sample_problem(samples: np.ndarray) -> str:
    """What floats of any shape, full scale = 1, hold that no recording has; empty if nothing."""
    peak = max(samples.max(initial=0), -samples.min(initial=0))  # NaN where any is
    if peak <= LOUDEST:
        return ""
    if not np.isfinite(peak):
        return "samples that are not finite numbers"
    return f"samples above {LOUDEST:g}, where full scale is 1"


class Folding:
    """Channels averaged, block by block."""

    def __init__(self) -> None:
        self._of_channels = self._of_average = 0.0  # sums of squares

    def fold(self, frames: np.ndarray) -> np.ndarray:
        """(frames, channels) -> (frames,)."""
        if frames.shape[1] == 1:
            return frames[:, 0]
        average = frames.mean(1)
        # were all but one channel silent, the average would have this sum of squares
        self._of_channels += float(np.square(frames, dtype=np.float64).sum()) / frames.shape[1] ** 2
        self._of_average += float(np.square(average, dtype=np.float64).sum())
        return average

    def cancels(self) -> bool:
        """Whether hardly anything is left of what the channels hold, as where one of two is inverted."""
        return self._of_average < _CANCELLED_SHARE * self._of_channels


@functools.lru_cache(maxsize=1)
def _reader() -> type[SoundFile]:
    """``soundfile.SoundFile`` that does not seek to where it is after each read: that spoils what mp3 decodes to."""
    import soundfile

    class Reader(soundfile.SoundFile):
        def seekable(self) -> bool:
            return False

    return Reader


def _limit(path: str | Path | BinaryIO) -> int:
    """Samples that a file may decode to."""
    if isinstance(path, (str, os.PathLike)):
        num_bytes = os.stat(path).st_size
    else:
        position = path.tell()
        num_bytes = path.seek(0, os.SEEK_END)
        path.seek(position)
    return _MOST_SAMPLES_OF_ANY_FILE + _MOST_SAMPLES_PER_BYTE * num_bytes


def _read_frames(file: SoundFile, offset: int, num_frames: int | None, limit: float) -> np.ndarray:
    """(frames,) from a frame on; fewer or none where the file ends before.

    Raises:
        ValueError: for more than ``limit``, or channels that cancel one another.
    """
    if offset:
        if offset >= file.frames:
            return np.zeros(0, np.float32)
        _skip(file, offset)
    block = max(1, _BLOCK_VALUES // file.channels)
    wanted = file.frames if num_frames is None else num_frames
    blocks: list[np.ndarray] = []
    folding = Folding()
    num_read = 0
    while num_read < wanted or not blocks:
        frames = file.read(min(block, wanted - num_read), dtype="float32", always_2d=True)
        blocks.append(folding.fold(frames))
        num_read += len(frames)
        if num_read > limit:
            raise ValueError(
                f"it decodes to more than {_MOST_SAMPLES_PER_BYTE:,} samples for each of its bytes; it is all silence, "
                "or made to fill the memory"
            )
        if len(frames) < block:
            break
    if folding.cancels():
        raise ValueError(f"its {_CANCELLED}")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _skip(file: SoundFile, num_frames: int) -> None:
    """Go exactly to a frame of a file that was just opened, or to its end."""
    if file.format not in _INEXACT_FORMATS:
        file.seek(num_frames)
        return
    block = max(1, _BLOCK_VALUES // file.channels)
    while num_frames > 0:
        num_read = len(file.read(min(block, num_frames), dtype="float32"))
        if not num_read:  # the header may promise any number
            break
        num_frames -= num_read


def _read_resampled(
    file: SoundFile, offset: int, num_samples: int | None, sample_rate_hz: int, limit: int
) -> np.ndarray:
    """(num_samples,) of the file at another rate.

    A part equals the same stretch of the whole file, resampled at once: it is read with some context, from a frame
    that falls on a sample of the new rate.
    """
    divisor = math.gcd(file.samplerate, sample_rate_hz)
    frames_per_step, samples_per_step = file.samplerate // divisor, sample_rate_hz // divisor
    context = math.ceil(_CONTEXT_SECONDS * sample_rate_hz)
    first_step = max(0, offset - context) // samples_per_step
    num_frames = None
    if num_samples is not None:
        last_sample = offset + num_samples + context
        num_frames = math.ceil(last_sample / samples_per_step) * frames_per_step - first_step * frames_per_step
    # the limit counts samples at the new rate, what is read counts frames of the file
    limit = limit * file.samplerate / max(file.samplerate, sample_rate_hz)
    frames = _read_frames(file, first_step * frames_per_step, num_frames, limit)
    if not len(frames):
        return frames
    resampled = _resampled(frames, file.samplerate, sample_rate_hz)
    start = offset - first_step * samples_per_step
    return resampled[start : None if num_samples is None else start + num_samples]


def _resampled(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Every sample at the new rate that begins before the old ones end; what soxr returns is at most one off."""
    import soxr

    length = math.ceil(len(samples) * to_hz / from_hz)
    resampled = soxr.resample(samples, from_hz, to_hz)[:length]
    return np.pad(resampled, (0, length - len(resampled)))


def _reason(path: object, error: Exception) -> str:
    if not isinstance(path, (str, os.PathLike)):
        return (getattr(error, "error_string", None) or str(error)).rstrip(".")
    if os.path.isdir(path):
        return "it is a folder: name its files, or make a manifest and use --data"
    if not os.path.exists(path):
        return "no such file"
    if not os.access(path, os.R_OK):
        return "permission denied"
    if isinstance(error, MemoryError):
        return "memory does not suffice for what its header promises"
    return (getattr(error, "strerror", None) or str(error)).rstrip(".").split(": ")[-1]
