"""Options that every corpus has: where to write, which clips and segments to keep, how many processes to use."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from .rows import ALLOW_OUTSIDE_ROOT


@dataclass(frozen=True)
class AudioRules:
    """What a clip must be to be kept.

    Attributes:
        min_seconds, max_seconds: lengths allowed (None: any).
        other_rates: "resample" keeps files at another rate, which are resampled when they are read; "refuse" does not.
        verify: decode every file to its end. max_clipped: share of samples at full scale that this allows.
        allow_outside_root: keep files outside the corpus's folder, where links, `..` or an absolute path lead.

    Raises:
        InputError: for a value out of range, by the name of its option.
    """

    min_seconds: float | None = None
    max_seconds: float | None = None
    other_rates: str = "resample"
    verify: bool = False
    max_clipped: float = 0.01
    allow_outside_root: bool = False

    def __post_init__(self) -> None:
        for option, seconds in (("--min-seconds", self.min_seconds), ("--max-seconds", self.max_seconds)):
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
                raise InputError(f"{option} {seconds:g} must be 0 or more")
        if self.min_seconds is not None and self.max_seconds is not None and self.min_seconds > self.max_seconds:
            raise InputError(f"--min-seconds {self.min_seconds:g} must not exceed --max-seconds {self.max_seconds:g}")
        if not 0 <= self.max_clipped <= 1:
            raise InputError(f"--max-clipped {self.max_clipped:g} must be between 0 and 1")


@dataclass(frozen=True)
class SegmentRules:
    """What a segment of speech must be to be kept.

    Attributes:
        target_seconds, min_segment_seconds: longest and shortest segment.
        cut_dir: write each segment to a file below this folder (None: rows name parts of the long files).

    Raises:
        InputError: for a value out of range, by the name of its option.
    """

    target_seconds: float = 30.0
    min_segment_seconds: float = 10.0
    cut_dir: Path | None = None

    def __post_init__(self) -> None:
        target, shortest = self.target_seconds, self.min_segment_seconds
        if not (math.isfinite(target) and target > 0):
            raise InputError(f"--target-seconds {target:g} must be positive")
        if not 0 <= shortest <= target:
            raise InputError(f"--min-segment-seconds {shortest:g} must be between 0 and --target-seconds {target:g}")


@dataclass(frozen=True)
class ManifestOptions:
    """Where a corpus's files go, and how its audio is read.

    Attributes:
        dest: folder for manifests and labels.
        rules: what a clip must be to be kept. segments: how long recordings are cut, by the corpora that have them.
        workers: processes that read audio (None: one for each CPU).
        max_refused: largest share of the clips found that may be refused (None: any).
        force: replace files that have other content.

    Raises:
        InputError: for a value out of range, by the name of its option.
    """

    dest: Path
    rules: AudioRules = AudioRules()
    segments: SegmentRules = SegmentRules()
    workers: int | None = None
    max_refused: float | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.max_refused is not None and not 0 <= self.max_refused <= 1:
            raise InputError(f"--max-refused {self.max_refused:g} must be between 0 and 1")


def positive_int(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of 1 or more")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every corpus has, by the names of the fields above, which have the defaults."""
    parser.add_argument("--dest", required=True, type=Path, help="folder for manifests and labels")
    parser.add_argument("--min-seconds", type=float, help="refuse shorter clips")
    parser.add_argument("--max-seconds", type=float, help="refuse longer clips")
    parser.add_argument(
        "--other-rates",
        choices=("resample", "refuse"),
        help="files at another rate: keep them, to be resampled when they are read (the default), or refuse them",
    )
    parser.add_argument("--verify", action="store_true", help="decode every file whole: broken, silent, clipped, NaN")
    parser.add_argument(
        "--max-clipped", type=float, help="with --verify: share of samples at full scale allowed (0.01)"
    )
    parser.add_argument(
        ALLOW_OUTSIDE_ROOT,
        action="store_true",
        help="keep files that links lead out of the corpus's folder to; training: +task.allow_outside_root=true",
    )
    parser.add_argument("--max-refused", type=float, metavar="SHARE", help="fail if a larger share is refused")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for ``SegmentRules``, for a corpus of long recordings."""
    parser.add_argument("--target-seconds", type=float, help="longest segment (30)")
    parser.add_argument("--min-segment-seconds", type=float, help="leave shorter segments out (10)")
    parser.add_argument(
        "--cut",
        dest="cut_dir",
        type=Path,
        metavar="DIR",
        help="write each segment to a flac file below DIR, at the manifest's rate",
    )


def options_of(args: argparse.Namespace) -> ManifestOptions:
    """The options that were given; the others keep the defaults above."""

    def given(kind: type) -> dict[str, Any]:
        return {field.name: getattr(args, field.name) for field in fields(kind) if hasattr(args, field.name)}

    rules, segments = AudioRules(**given(AudioRules)), SegmentRules(**given(SegmentRules))
    return ManifestOptions(rules=rules, segments=segments, **given(ManifestOptions))
