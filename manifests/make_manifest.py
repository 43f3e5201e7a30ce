"""Write fairseq manifests for any folder of audio: DEST/train.tsv and DEST/valid.tsv.

python manifests/make_manifest.py AUDIO_DIR --dest DIR
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scan import EXTENSIONS, find_audio, read_headers
from writer import (
    ManifestError,
    format_manifest,
    format_refusals,
    run_command,
    split_clips,
    summarise,
    write_files,
)


def prepare(
    audio_dir: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    valid_fraction: float = 0.01,
    min_seconds: float | None = None,
    max_seconds: float | None = None,
    sample_rate_hz: int = 16000,
    workers: int | None = None,
    extensions: Sequence[str] = EXTENSIONS,
    force: bool = False,
) -> str:
    """Write the manifests of the audio below `audio_dir` into `dest`; returns the summary to print.

    `valid_fraction` of the clips, chosen by the hash of their paths, go to valid.tsv; with 0 there is
    none. Files that cannot be used are left out and listed in DEST/refused.tsv.
    """
    root, dest = Path(audio_dir), Path(dest)
    _check_options(valid_fraction, min_seconds, max_seconds, sample_rate_hz)
    found, refusals = find_audio(root, extensions)
    if not found and not refusals:
        endings = ", ".join(extensions)
        raise ManifestError(f"no audio below {root} (endings looked for: {endings}; see --ext)")
    clips, unusable = read_headers(
        root,
        found,
        sample_rate_hz=sample_rate_hz,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        workers=workers,
    )
    refusals = refusals + unusable
    if not clips:
        raise ManifestError(
            f"none of the {len(refusals)} audio files below {root} is usable; the first, "
            f"{refusals[0].path}: {refusals[0].reason}"
        )
    train, valid, note = split_clips(clips, valid_fraction)
    splits = {"train": train, "valid": valid} if valid_fraction > 0 else {"train": train}
    write_files(
        {dest / f"{name}.tsv": format_manifest(root, part) for name, part in splits.items()},
        force=force,
        reports={dest / "refused.tsv": format_refusals(refusals)},
    )
    notes = [note] if note else []
    if valid_fraction == 0 and (dest / "valid.tsv").exists():
        notes.append(f"{dest / 'valid.tsv'} is from an earlier run: delete it if it is not wanted")
    return summarise(
        len(found) + len(refusals) - len(unusable),
        splits,
        refusals,
        sample_rate_hz=sample_rate_hz,
        notes=notes,
    )


def _check_options(
    valid_fraction: float, min_seconds: float | None, max_seconds: float | None, sample_rate_hz: int
) -> None:
    if not 0 <= valid_fraction < 1:
        raise ManifestError(f"--valid-fraction {valid_fraction:g} must be at least 0 and below 1")
    for option, seconds in (("--min-seconds", min_seconds), ("--max-seconds", max_seconds)):
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise ManifestError(f"{option} {seconds:g} must be 0 or more")
    if min_seconds is not None and max_seconds is not None and min_seconds > max_seconds:
        raise ManifestError(f"--min-seconds {min_seconds:g} must not exceed --max-seconds {max_seconds:g}")
    if sample_rate_hz <= 0:
        raise ManifestError(f"--sample-rate {sample_rate_hz} must be positive")


def positive_int(text: str) -> int:
    """An argparse type: a whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be 1 or more")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write fairseq manifests for any folder of audio.")
    parser.add_argument("audio_dir", metavar="AUDIO_DIR", type=Path, help="folder with audio, of any depth")
    parser.add_argument("--dest", required=True, type=Path, help="folder for train.tsv and valid.tsv")
    parser.add_argument("--valid-fraction", type=float, default=0.01, help="share in valid.tsv, by hash of path (0.01)")
    parser.add_argument("--min-seconds", type=float, help="refuse shorter clips")
    parser.add_argument("--max-seconds", type=float, help="refuse longer clips")
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="refuse other rates (16000)")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--ext", nargs="+", default=EXTENSIONS, help=f"endings ({' '.join(EXTENSIONS)})")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")
    args = parser.parse_args(argv)
    return run_command(
        lambda: prepare(
            args.audio_dir,
            args.dest,
            valid_fraction=args.valid_fraction,
            min_seconds=args.min_seconds,
            max_seconds=args.max_seconds,
            sample_rate_hz=args.sample_rate,
            workers=args.workers,
            extensions=args.ext,
            force=args.force,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
