"""The audio that a row of a manifest names: a file, or bytes of an archive."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

from ..system.errors import InputError
from ..system.files import sha256_of
from .archives import read_member
from .audio import TOLERANCE_SECONDS, open_audio
from .manifest import Clip, archive_and_position


def open_clip(clip: Clip) -> Path | io.BytesIO:
    """A clip's path, or its bytes if they lie in memory or in an archive, as FILE.tar:OFFSET:LENGTH.

    Raises:
        InputError: for bytes that the archive does not have; OutsideRootError for a file outside the manifest's root.
    """
    clip.check_inside()
    if clip.content is not None:
        return _named(clip.content, clip)
    archive, position = archive_and_position(clip.path)
    if not position:
        return clip.path
    try:
        content = read_member(archive, position)
    except (OSError, ValueError) as error:
        raise InputError(f"{clip.path} cannot be read: {error}") from None
    return _named(content, clip)


def sha256_of_clip(clip: Clip) -> str:
    """SHA-256 of the whole content that a clip is in, in hex. Raises InputError as ``open_clip``."""
    opened = open_clip(clip)
    return sha256_of(opened) if isinstance(opened, Path) else hashlib.sha256(opened.getbuffer()).hexdigest()


def _named(content: bytes, clip: Clip) -> io.BytesIO:
    stored = io.BytesIO(content)
    stored.name = str(clip.path)
    return stored


def check_length(clip: Clip, num_samples: int, sample_rate_hz: int, min_samples: int = 0) -> None:
    """Check what was read of a clip against its row: ogg and mp3 that are cut short end like whole ones.

    Args:
        num_samples: that were read, at ``sample_rate_hz``; min_samples: that the model needs.

    Raises:
        InputError: if the row of a whole file promises another length, and does not count at the file's own rate, as
            other tools do; for a clip that is too short for the model.
    """
    promised = clip.num_samples > 0  # a file that a command names has no row
    if promised and clip.offset is None and abs(clip.num_samples - num_samples) > TOLERANCE_SECONDS * sample_rate_hz:
        with open_audio(open_clip(clip)) as file:
            read_at_own_rate = num_samples * file.samplerate / sample_rate_hz
            fits = abs(clip.num_samples - read_at_own_rate) <= TOLERANCE_SECONDS * file.samplerate
        if not fits:
            raise InputError(
                f"{clip.path} holds {num_samples} samples, where its row promises {clip.num_samples}: is it "
                "truncated, or another file than when the manifest was made?"
            )
    if num_samples < min_samples:
        raise InputError(f"{clip.path} holds {num_samples} samples, and the model needs {min_samples}")
