"""Write fairseq manifests for any folder of audio: DEST/train.tsv and DEST/valid.tsv.

python manifests/make_manifest.py AUDIO_DIR --dest DIR
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from audio_file import AudioRules
from corpus import Prepared, Utterance, write_corpus
from options import add_arguments, rules_of
from scan import EXTENSIONS, find_audio, read_clips
from segments import SegmentRules, add_segment_arguments, cut_files, segment_rules_of, segments_of
from splits import split_clips
from writer import Clip, ManifestError, Refusal, run_command


def prepare(
    audio_dir: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    rules: AudioRules | None = None,
    valid_fraction: float = 0.01,
    speaker_depth: int = 0,
    segments: SegmentRules | None = None,
    workers: int | None = None,
    extensions: Sequence[str] = EXTENSIONS,
    max_refused: float | None = None,
    force: bool = False,
) -> str:
    """Write the manifests of the audio below `audio_dir` into `dest`; returns the summary to print.

    `valid_fraction` of the clips, chosen by the hash of their paths, go to valid.tsv; with 0 there is none. With a
    `speaker_depth` of n, the first n folders of a path name its speaker, and no speaker is in both. With `segments`,
    files are parted by voice activity. Files that cannot be used are left out and listed in DEST/refused.tsv.
    """
    root, dest, rules = Path(audio_dir), Path(dest), rules or AudioRules()
    if not 0 <= valid_fraction < 1:
        raise ManifestError(f"--valid-fraction {valid_fraction:g} must be at least 0 and below 1")
    rules.check()
    found, refusals = find_audio(root, extensions, allow_outside_root=rules.allow_outside_root)
    if not found and not refusals:
        endings = ", ".join(extensions)
        raise ManifestError(f"no audio below {root} (endings looked for: {endings}; see --ext)")
    num_found = len(found) + len(refusals)
    clips, unusable = read_clips(root, found, rules, workers=workers, dest=dest)
    refusals += unusable
    if segments is not None:
        root, clips, unusable = _segment(root, clips, segments, rules.sample_rate_hz, workers)
        refusals += unusable
    train, valid, note = _split(clips, valid_fraction, speaker_depth) if clips else ([], [], None)
    splits = {"train": [Utterance(clip) for clip in train], "valid": [Utterance(clip) for clip in valid]}
    corpus = Prepared(root, splits, refusals, num_found, notes=[note] if note else [])
    return write_corpus(dest, corpus, sample_rate_hz=rules.sample_rate_hz, max_refused=max_refused, force=force)


def _split(
    clips: Sequence[Clip], valid_fraction: float, speaker_depth: int
) -> tuple[list[Clip], list[Clip], str | None]:
    if not speaker_depth:
        return split_clips(clips, valid_fraction)
    for clip in clips:
        if clip.path.count("/") < speaker_depth:
            raise ManifestError(f"--speaker-depth {speaker_depth}: {clip.path} does not lie as deep, so has no speaker")
    return split_clips(clips, valid_fraction, lambda clip: "/".join(clip.path.split("/")[:speaker_depth]))


def _segment(
    root: Path, clips: Sequence[Clip], rules: SegmentRules, sample_rate_hz: int, workers: int | None
) -> tuple[Path, list[Clip], list[Refusal]]:
    """Segments of speech of all files, below the root they are relative to, and refusals."""
    from voice_activity import find_speech

    segments: list[Clip] = []
    refusals: list[Refusal] = []
    for clip, speech in zip(clips, find_speech(root, clips, sample_rate_hz=sample_rate_hz, workers=workers)):
        if isinstance(speech, Refusal):
            refusals.append(speech)
            continue
        kept, unusable = segments_of(clip, speech, rules, sample_rate_hz)
        segments += kept
        refusals += unusable
    if rules.cut_dir is None:
        return root, segments, refusals
    segments, unusable = cut_files(root, segments, rules.cut_dir, sample_rate_hz=sample_rate_hz, workers=workers)
    return rules.cut_dir, segments, refusals + unusable


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write fairseq manifests for any folder of audio.")
    parser.add_argument("audio_dir", metavar="AUDIO_DIR", type=Path, help="folder with audio, of any depth")
    add_arguments(parser)
    parser.add_argument("--valid-fraction", type=float, default=0.01, help="share in valid.tsv, by hash of path (0.01)")
    parser.add_argument(
        "--speaker-depth",
        type=int,
        default=0,
        metavar="N",
        help="the first N folders of a path name its speaker, who is in one split only (0: split by file)",
    )
    parser.add_argument("--ext", nargs="+", default=EXTENSIONS, help=f"endings ({' '.join(EXTENSIONS)})")
    parser.add_argument("--vad", action="store_true", help="part files by voice activity (needs silero-vad)")
    add_segment_arguments(parser)
    args = parser.parse_args(argv)
    return run_command(
        lambda: prepare(
            args.audio_dir,
            args.dest,
            rules=rules_of(args),
            valid_fraction=args.valid_fraction,
            speaker_depth=args.speaker_depth,
            segments=segment_rules_of(args) if args.vad else None,
            workers=args.workers,
            extensions=args.ext,
            max_refused=args.max_refused,
            force=args.force,
        ),
        args.dest,
    )


if __name__ == "__main__":
    sys.exit(main())
