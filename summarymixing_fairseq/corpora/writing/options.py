"""Options that every corpus has: where to write, which clips to keep, how many processes to use."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ...system.errors import InputError
from ..audio.rules import AudioRules, add_audio_arguments, audio_rules_of


@dataclass(frozen=True)
class ManifestOptions:
    """Where a corpus's files go, and how its audio is read.

    Attributes:
        dest: folder for manifests and labels.
        rules: what a clip must be to be kept.
        workers: processes that read audio (None: one for each CPU).
        max_refused: largest share of the clips found that may be refused (None: any).
        force: replace files that have other content.

    Raises:
        InputError: for a value out of range, by the name of its option.
    """

    dest: Path
    rules: AudioRules = AudioRules()
    workers: int | None = None
    max_refused: float | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.max_refused is not None and not 0 <= self.max_refused <= 1:
            raise InputError(f"--max-refused {self.max_refused:g} must be between 0 and 1")


def positive_int(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every corpus has."""
    parser.add_argument("--dest", required=True, type=Path, help="folder for manifests and labels")
    add_audio_arguments(parser)
    parser.add_argument("--max-refused", type=float, metavar="SHARE", help="fail if a larger share is refused")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")


def options_of(args: argparse.Namespace) -> ManifestOptions:
    """The options that ``add_arguments`` asked for."""
    return ManifestOptions(args.dest, audio_rules_of(args), args.workers, args.max_refused, args.force)
