"""What a clip or a segment must be to be kept, and the command's options for it."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ...system.errors import InputError
from ...system.units import SAMPLE_RATE_HZ
from ..writing.rows import ALLOW_OUTSIDE_ROOT

OTHER_RATES = ("resample", "refuse")


@dataclass(frozen=True)
class AudioRules:
    """What a clip must be to be kept.

    Attributes:
        sample_rate_hz: the manifest's rate.
        min_seconds, max_seconds: lengths allowed (None: any).
        other_rates: "resample" keeps files at another rate, which are resampled when they are read; "refuse" does not.
        verify: decode every file to its end. max_clipped: share of samples at full scale that this allows.
        allow_outside_root: keep files outside the corpus's folder, where links, `..` or an absolute path lead.

    Raises:
        InputError: for a value out of range, by the name of its option.
    """

    sample_rate_hz: int = SAMPLE_RATE_HZ
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
        if self.sample_rate_hz <= 0:
            raise InputError(f"--sample-rate {self.sample_rate_hz} must be positive")
        if not 0 <= self.max_clipped <= 1:
            raise InputError(f"--max-clipped {self.max_clipped:g} must be between 0 and 1")

    def of_any_length(self) -> AudioRules:
        """The same rules without limits of length: an error rate is one of a whole test set."""
        return replace(self, min_seconds=None, max_seconds=None)


def add_audio_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for ``AudioRules``."""
    parser.add_argument("--min-seconds", type=float, help="refuse shorter clips")
    parser.add_argument("--max-seconds", type=float, help="refuse longer clips")
    parser.add_argument(
        "--sample-rate", dest="sample_rate_hz", type=int, default=SAMPLE_RATE_HZ, metavar="HZ", help="of rows (16000)"
    )
    parser.add_argument(
        "--other-rates",
        choices=OTHER_RATES,
        default="resample",
        help="files at another rate: keep them, to be resampled when they are read (the default), or refuse them",
    )
    parser.add_argument("--verify", action="store_true", help="decode every file whole: broken, silent, clipped, NaN")
    parser.add_argument(
        "--max-clipped", type=float, default=0.01, help="with --verify: share of samples at full scale allowed (0.01)"
    )
    parser.add_argument(
        ALLOW_OUTSIDE_ROOT,
        action="store_true",
        help="keep files that links lead out of the corpus's folder to; training then needs task.allow_outside_root",
    )


def audio_rules_of(args: argparse.Namespace) -> AudioRules:
    """The rules that ``add_audio_arguments`` asked for."""
    return AudioRules(**{rule.name: getattr(args, rule.name) for rule in fields(AudioRules)})


@dataclass(frozen=True)
class SegmentRules:
    """What a segment of speech must be to be kept.

    Attributes:
        target_seconds, min_seconds: longest and shortest segment.
        cut_dir: write each segment to a file below this folder (None: rows name parts of the long files).

    Raises:
        InputError: for a value out of range, by the name of its option.
    """

    target_seconds: float = 30.0
    min_seconds: float = 10.0
    cut_dir: Path | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.target_seconds) and self.target_seconds > 0):
            raise InputError(f"--target-seconds {self.target_seconds:g} must be positive")
        if not 0 <= self.min_seconds <= self.target_seconds:
            raise InputError(
                f"--min-segment-seconds {self.min_seconds:g} must be between 0 and --target-seconds "
                f"{self.target_seconds:g}"
            )


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options for ``SegmentRules``."""
    parser.add_argument("--target-seconds", type=float, default=30.0, help="longest segment (30)")
    parser.add_argument("--min-segment-seconds", type=float, default=10.0, help="leave shorter segments out (10)")
    parser.add_argument(
        "--cut", type=Path, metavar="DIR", help="write each segment to a flac file below DIR, at the manifest's rate"
    )


def segment_rules_of(args: argparse.Namespace) -> SegmentRules:
    """The rules that ``add_segment_arguments`` asked for."""
    return SegmentRules(args.target_seconds, args.min_segment_seconds, args.cut)
