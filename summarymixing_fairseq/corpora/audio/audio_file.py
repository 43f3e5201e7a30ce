"""One audio file: its length by its header or, with `verify`, by decoding it whole; or why it is refused."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.files import atomic_write
from ...system.units import SAMPLE_RATE_HZ
from ..writing.options import AudioRules
from ..writing.rows import Clip, Refusal, link_problem, path_problem

if TYPE_CHECKING:
    import numpy as np
    from soundfile import SoundFile

_BLOCK_SAMPLES = 2**16
# The usual block of FLAC. Seeking to the last sample itself takes three times as long as seeking one block before it.
_FLAC_BLOCK_SAMPLES = 4096
# A sample this near to full scale counts as clipped; a file whose loudest sample stays below -60 dB is silent.
_CLIPPED_LEVEL = 0.999
_SILENCE_LEVEL = 1e-3


def read_clip(path: str, root: str, rules: AudioRules) -> Clip | Refusal:
    """Length of one file at 16 kHz, or why it is refused. Any number of channels: they are averaged.

    Args:
        path: below `root`; FILE.tar:OFFSET:LENGTH for a file in an archive.
    """
    from ...data.archives import read_member
    from ...data.audio import DECODING_ERRORS, header_problem, open_audio
    from ...data.manifest import archive_and_position

    absolute = os.path.join(root, path)
    archive, position = archive_and_position(absolute)
    file_path = path[: -len(position) - 1] if position else path
    # Paths from a corpus's own lists have not been through find_audio. A colon in the root harms only endings that
    # fairseq does not know.
    problem = path_problem(file_path, allow_outside_root=rules.allow_outside_root)
    if problem is None and ":" in root:
        problem = path_problem(file_path, root, allow_outside_root=rules.allow_outside_root)
    if problem is None and not rules.allow_outside_root:
        problem = link_problem(file_path, root)
    if problem:
        return Refusal(path, problem)
    try:
        source = io.BytesIO(read_member(archive, position)) if position else absolute
        with open_audio(source) as file:
            reason = header_problem(source, file, read_flac=rules.verify) or _length_problem(file)
            detail = ""
            if rules.verify and not reason:
                reason, detail = _content_problem(file, rules)
            num_frames, rate_hz = file.frames, file.samplerate
    except DECODING_ERRORS as error:
        reason, detail = ("unreadable or truncated", str(error)) if position else _open_problem(absolute, error)
    if reason:
        return Refusal(path, reason, detail)
    if rate_hz != SAMPLE_RATE_HZ and rules.other_rates == "refuse":
        return Refusal(path, f"sample rate {rate_hz} Hz, not {SAMPLE_RATE_HZ} Hz (resample it first)")
    num_samples = math.ceil(num_frames * SAMPLE_RATE_HZ / rate_hz)
    seconds = num_frames / rate_hz
    if rules.min_seconds is not None and seconds < rules.min_seconds:
        return Refusal(path, f"shorter than {rules.min_seconds:g} s", f"{seconds:.3f} s")
    if rules.max_seconds is not None and seconds > rules.max_seconds:
        return Refusal(path, f"longer than {rules.max_seconds:g} s", f"{seconds:.3f} s")
    return Clip(path, num_samples, file_rate_hz=None if rate_hz == SAMPLE_RATE_HZ else rate_hz)


def _open_problem(path: str, error: Exception) -> tuple[str, str]:
    """Why a file cannot be opened, and what the library says of it."""
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
    return "unreadable or truncated", str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error)


def _length_problem(file: SoundFile) -> str:
    if file.frames <= 0:
        return "no samples"
    # The header of a file that was cut short still gives the full length: only reading its end shows the loss.
    num_samples = min(file.frames, _FLAC_BLOCK_SAMPLES if file.format == "FLAC" else 1)
    file.seek(file.frames - num_samples)
    if len(file.read(num_samples, dtype="int16")) != num_samples:
        return "truncated (its last sample cannot be read)"
    return ""


def _content_problem(file: SoundFile, rules: AudioRules) -> tuple[str, str]:
    """What only decoding shows: fewer samples than promised, NaN, channels that cancel, silence, clipping."""
    import numpy as np
    import soundfile

    from ...data.audio import Folding, sample_problem

    file.seek(0)
    folding = Folding()
    num_read = num_clipped = 0
    peak = 0.0
    while num_read < file.frames:
        try:
            # no more than promised: libsndfile takes a tag behind the audio of flac for a broken frame
            block = file.read(min(_BLOCK_SAMPLES, file.frames - num_read), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            return f"broken (found by decoding after {num_read / file.samplerate:.2f} s)", error.error_string
        if not len(block):
            break
        if problem := sample_problem(block):
            return problem, ""
        peak = max(peak, float(np.abs(folding.fold(block)).max()))
        num_clipped += int((np.abs(block) >= _CLIPPED_LEVEL).any(1).sum())
        num_read += len(block)
    if num_read != file.frames:
        return "truncated (found by decoding)", f"{num_read} of {file.frames} samples"
    if folding.cancels():
        return "channels that cancel one another (one is inverted)", ""
    if peak < _SILENCE_LEVEL:
        return "silence (nothing above -60 dB)", ""
    if num_clipped > rules.max_clipped * num_read:
        return f"clipped (over {rules.max_clipped:.1%} of samples at full scale)", f"{num_clipped / num_read:.1%}"
    return "", ""


def existing_num_samples(path: Path) -> int:
    """Length in samples of a clip that an earlier run has written; 0 where there is none at 16 kHz."""
    from ...data.audio import DECODING_ERRORS, read_header

    try:
        header = read_header(path)
    except DECODING_ERRORS:
        return 0
    return header.num_frames if header.sample_rate_hz == SAMPLE_RATE_HZ else 0


def write_flac(path: Path, samples: np.ndarray) -> None:
    """Write what `flac_of` gives. The file has its final name only once it is complete.

    Raises:
        InputError: if the file cannot be written.
    """
    # encoded in memory: libsndfile's callbacks would lose or print an error of the disk
    encoded = flac_of(samples)
    with atomic_write(path, "wb") as file:
        file.write(encoded)


def flac_of(samples: np.ndarray) -> bytes:
    """(num_samples,) at 16 kHz as a file of 16-bit FLAC.

    Floats are brought to full scale where they go beyond it, which 16 bits cannot hold: clipping would change what is
    heard, the level does not.
    """
    import soundfile

    if samples.dtype.kind == "f" and (peak := max(samples.max(initial=0), -samples.min(initial=0))) > 1:
        samples = samples / peak
    encoded = io.BytesIO()
    soundfile.write(encoded, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return encoded.getvalue()
