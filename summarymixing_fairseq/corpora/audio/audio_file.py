"""One audio file: its length by its header or, with `verify`, by decoding it whole; or why it is refused."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ...system.errors import InputError
from ..writing.writer import Clip, Refusal, link_problem, path_problem
from .flac_end import ends_as_promised

OTHER_RATES = ("resample", "refuse")

# libsndfile reports a stream whose header leaves the length open as 2^63 - 1 samples.
_MAX_PLAUSIBLE_SAMPLES = 2**40
_BLOCK_SAMPLES = 2**16
# A sample this near to full scale counts as clipped; a file whose loudest sample stays below -60 dB is silent.
_CLIPPED_LEVEL = 0.999
_SILENCE_LEVEL = 1e-3


@dataclass(frozen=True)
class AudioRules:
    """What a clip must be to be kept.

    `sample_rate_hz` is the manifest's rate; files at another one are kept, to be resampled when they are read, or
    refused. `verify` decodes every file whole; `max_clipped` is the share of samples at full scale that it allows.
    `allow_outside_root` keeps files that links, `..` or an absolute path lead out of the corpus's folder to.
    """

    sample_rate_hz: int = 16000
    min_seconds: float | None = None
    max_seconds: float | None = None
    other_rates: str = "resample"
    verify: bool = False
    max_clipped: float = 0.01
    allow_outside_root: bool = False

    def check(self) -> None:
        """Raise InputError for a value that makes no sense, by the name of its option."""
        for option, seconds in (("--min-seconds", self.min_seconds), ("--max-seconds", self.max_seconds)):
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
                raise InputError(f"{option} {seconds:g} must be 0 or more")
        if self.min_seconds is not None and self.max_seconds is not None and self.min_seconds > self.max_seconds:
            raise InputError(f"--min-seconds {self.min_seconds:g} must not exceed --max-seconds {self.max_seconds:g}")
        if self.sample_rate_hz <= 0:
            raise InputError(f"--sample-rate {self.sample_rate_hz} must be positive")
        if self.other_rates not in OTHER_RATES:
            raise InputError(f"--other-rates {self.other_rates} must be {' or '.join(OTHER_RATES)}")
        if not 0 <= self.max_clipped <= 1:
            raise InputError(f"--max-clipped {self.max_clipped:g} must be between 0 and 1")


def read_clip(path: str, root: str, rules: AudioRules) -> Clip | Refusal:
    """Length of one file at the rate of the rules, or why it is refused. Any number of channels: they are averaged."""
    import soundfile

    # paths from a corpus's own lists have not been through find_audio
    problem = path_problem(path, allow_outside_root=rules.allow_outside_root)
    if problem is None and not rules.allow_outside_root:
        problem = link_problem(path, root)
    if problem:
        return Refusal(path, problem)
    absolute = os.path.join(root, path)
    try:
        descriptor = os.open(absolute, os.O_RDONLY)
        try:
            # A descriptor saves a tenth of the time, but other formats may be known by their endings alone.
            is_flac = path.lower().endswith(".flac")
            with soundfile.SoundFile(descriptor if is_flac else absolute, closefd=False) as file:
                rate_hz, num_frames = file.samplerate, file.frames
                problem = _length_problem(file, descriptor)
                if rules.verify and not problem:
                    problem = _content_problem(file, rules)
        finally:
            os.close(descriptor)
    except soundfile.LibsndfileError as error:
        return Refusal(path, *_open_problem(absolute, error.error_string))
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: a name that no file can have
        return Refusal(path, *_open_problem(absolute, getattr(error, "strerror", None) or str(error)))
    if problem:
        return Refusal(path, *problem)
    return _within_rules(path, num_frames, rate_hz, rules)


def _within_rules(path: str, num_frames: int, rate_hz: int, rules: AudioRules) -> Clip | Refusal:
    if rate_hz != rules.sample_rate_hz and rules.other_rates == "refuse":
        return Refusal(path, f"sample rate {rate_hz} Hz, not {rules.sample_rate_hz} Hz (resample it first)")
    num_samples = math.ceil(num_frames * rules.sample_rate_hz / rate_hz)
    seconds = num_frames / rate_hz
    if rules.min_seconds is not None and seconds < rules.min_seconds:
        return Refusal(path, f"shorter than {rules.min_seconds:g} s", f"{seconds:.3f} s")
    if rules.max_seconds is not None and seconds > rules.max_seconds:
        return Refusal(path, f"longer than {rules.max_seconds:g} s", f"{seconds:.3f} s")
    return Clip(path, num_samples, file_rate_hz=None if rate_hz == rules.sample_rate_hz else rate_hz)


def _open_problem(path: str, message: str) -> tuple[str, str]:
    if os.path.isdir(path):
        return "a folder, not a file", ""
    if not os.path.lexists(path):
        return "no such file", ""
    if not os.path.exists(path):
        return "dead link", ""
    if not os.access(path, os.R_OK):
        return "permission denied", ""
    if os.path.getsize(path) == 0:
        return "empty file", ""
    return "unreadable or truncated", message


def _length_problem(file, descriptor: int) -> tuple[str, ...] | None:
    if file.frames > _MAX_PLAUSIBLE_SAMPLES:
        return ("length not in the header (encode it again)",)
    if file.frames <= 0:
        return ("no samples",)
    # A header keeps its promise of samples when the file's end is lost: look at the end.
    if file.format == "FLAC" and ends_as_promised(descriptor, file.frames):
        return None
    file.seek(file.frames - 1)
    if len(file.read(1, dtype="int16")) != 1:
        return ("truncated (its last sample cannot be read)",)
    return None


def _content_problem(file, rules: AudioRules) -> tuple[str, ...] | None:
    """What only decoding shows: fewer samples than promised, NaN, silence, clipping."""
    import numpy as np
    import soundfile

    file.seek(0)
    num_read = num_clipped = 0
    peak = 0.0
    while True:
        try:
            block = file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            return f"broken (found by decoding after {num_read / file.samplerate:.2f} s)", error.error_string
        if not len(block):
            break
        if not np.isfinite(block).all():
            return ("samples that are not finite numbers",)
        level = np.abs(block)
        peak = max(peak, float(level.max()))
        num_clipped += int((level >= _CLIPPED_LEVEL).any(1).sum())
        num_read += len(block)
    if num_read != file.frames:
        return "truncated (found by decoding)", f"{num_read} of {file.frames} samples"
    if peak < _SILENCE_LEVEL:
        return ("silence (nothing above -60 dB)",)
    if num_clipped > rules.max_clipped * num_read:
        return f"clipped (over {rules.max_clipped:.1%} of samples at full scale)", f"{num_clipped / num_read:.1%}"
    return None
