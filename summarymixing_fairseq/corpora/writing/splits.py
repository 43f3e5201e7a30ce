"""Splits that do not move as a corpus grows, and that never share a speaker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from ...system.errors import InputError
from .rows import Clip

# A validation set of this share of the audio is warned of.
_LARGE_SHARE = 1 / 3


def check_valid_fraction(fraction: float) -> None:
    """Raises InputError unless the share of validation data is at least 0 and below 1."""
    if not 0 <= fraction < 1:
        raise InputError(f"--valid-fraction {fraction:g} must be at least 0 and below 1")


def stable_fraction(key: str) -> float:
    """A number in [0, 1) that depends on `key` alone, so that a split does not move as files are added."""
    # 53 bits: what a float holds exactly; more could round up to 1.0.
    return (int.from_bytes(hashlib.sha1(key.encode("utf-8")).digest()[:8], "big") >> 11) / 2**53


def split_clips(
    clips: Sequence[Clip], valid_fraction: float, speaker_of: Callable[[Clip], str] | None = None
) -> tuple[list[Clip], list[Clip], list[str]]:
    """Train and valid clips by the hash of each clip's speaker or path, and notes: where one had to be moved.

    Clips of one speaker (`speaker_of`; None: only the parts of one file) stay together. With `valid_fraction` > 0
    neither side is left empty: in a small corpus the speaker or file nearest to the border changes sides. A valid side
    of one clip, or of a third of the audio, is noted too.

    Raises:
        InputError: where there is only one speaker or file.
    """
    if valid_fraction == 0 or not clips:
        return list(clips), [], []
    group_of = speaker_of or (lambda clip: clip.path)
    groups = {group_of(clip) for clip in clips}
    if len(groups) < 2:
        what = "speaker" if speaker_of else "file"
        raise InputError(f"1 usable {what} cannot be split into train and valid: add audio, or give --valid-fraction 0")
    valid_groups = {group for group in groups if stable_fraction(group) < valid_fraction}
    notes = []
    if not valid_groups or valid_groups == groups:
        nearest = sorted(groups, key=lambda group: (stable_fraction(group), group))
        moved, side = (nearest[-1], "train") if valid_groups else (nearest[0], "valid")
        valid_groups ^= {moved}
        notes.append(f"{moved} was moved to {side}, which was empty at fraction {valid_fraction:g}")
    train = [clip for clip in clips if group_of(clip) not in valid_groups]
    valid = [clip for clip in clips if group_of(clip) in valid_groups]
    if len(valid) == 1:
        notes.append("WARNING: valid is one clip, whose loss says little: give more audio or a larger --valid-fraction")
    share = sum(clip.num_samples for clip in valid) / sum(clip.num_samples for clip in clips)
    if share >= _LARGE_SHARE:
        notes.append(f"WARNING: valid is {share:.0%} of the audio, which training lacks: give more audio or speakers")
    return train, valid, notes
