"""Options that the commands of this folder share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...system.errors import InputError
from ..audio.audio_file import OTHER_RATES, AudioRules
from .writer import ALLOW_OUTSIDE_ROOT


def positive_int(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return value


def add_arguments(
    parser: argparse.ArgumentParser, *, min_seconds: float | None = None, max_seconds: float | None = None
) -> None:
    """Where to write, which clips to keep, how many processes."""

    def default(value: float | None) -> str:
        return "" if value is None else f" ({value:g})"

    parser.add_argument("--dest", required=True, type=Path, help="folder for manifests and labels")
    parser.add_argument(
        "--min-seconds", type=float, default=min_seconds, help="refuse shorter clips" + default(min_seconds)
    )
    parser.add_argument(
        "--max-seconds", type=float, default=max_seconds, help="refuse longer clips" + default(max_seconds)
    )
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="of the manifest (16000)")
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
    parser.add_argument("--max-refused", type=float, metavar="SHARE", help="fail if a larger share is refused")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")


def shared_options(args: argparse.Namespace) -> dict[str, Any]:
    """Keyword arguments of every corpus's ``prepare`` that ``add_arguments`` asks for, the folder aside."""
    return {
        "rules": rules_of(args),
        "workers": args.workers,
        "max_refused": args.max_refused,
        "force": args.force,
    }


def rules_of(args: argparse.Namespace) -> AudioRules:
    """The rules for clips that the options ask for.

    Raises:
        InputError: for a value that makes no sense.
    """
    rules = AudioRules(
        sample_rate_hz=args.sample_rate,
        min_seconds=args.min_seconds,
        max_seconds=args.max_seconds,
        other_rates=args.other_rates,
        verify=args.verify,
        max_clipped=args.max_clipped,
        allow_outside_root=args.allow_outside_root,
    )
    rules.check()
    if args.max_refused is not None and not 0 <= args.max_refused <= 1:
        raise InputError(f"--max-refused {args.max_refused:g} must be between 0 and 1")
    return rules
