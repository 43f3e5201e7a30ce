"""Any folder of audio: DEST/train.tsv and DEST/valid.tsv.

summarymixing manifest folder AUDIO_DIR --dest DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..system.errors import InputError
from .audio.rules import SegmentRules, add_segment_arguments, segment_rules_of
from .audio.scan import EXTENSIONS, find_audio, read_clips
from .audio.segments import cut_files, segments_of
from .audio.voice_activity import find_speech
from .writing.corpus import Prepared
from .writing.labels import Utterance
from .writing.options import ManifestOptions, options_of
from .writing.rows import Clip, Refusal
from .writing.splits import check_valid_fraction, split_clips

DESCRIPTION = "Write fairseq manifests for any folder of audio."


def prepare(
    root: Path,
    options: ManifestOptions,
    *,
    valid_fraction: float = 0.01,
    speaker_depth: int = 0,
    segments: SegmentRules | None = None,
    extensions: Sequence[str] = EXTENSIONS,
) -> Prepared:
    """The audio below `root`, split into train and valid.

    Args:
        valid_fraction: share of the clips, chosen by the hash of their paths, for valid.tsv (0: there is none).
        speaker_depth: so many folders of a path name its speaker, who is in one split only (0: split by file).
        segments: cut files into segments by voice activity. extensions: endings of audio files.

    Raises:
        InputError: where there is no audio, or a split cannot be made.
    """
    check_valid_fraction(valid_fraction)
    found, refusals = find_audio(root, extensions, allow_outside_root=options.rules.allow_outside_root)
    if not found and not refusals:
        raise InputError(f"no audio below {root} (endings looked for: {', '.join(extensions)}; see --ext)")
    num_found = len(found) + len(refusals)
    clips, unusable = read_clips(root, found, options.rules, workers=options.workers, dest=options.dest)
    refusals += unusable
    if segments is not None:
        clips, unusable = _segment(root, clips, segments, options)
        refusals += unusable
        root = segments.cut_dir or root
    train, valid, note = _split(clips, valid_fraction, speaker_depth) if clips else ([], [], None)
    splits = {"train": [Utterance(clip) for clip in train], "valid": [Utterance(clip) for clip in valid]}
    return Prepared(root, splits, refusals, num_found, notes=[note] if note else [])


def _split(
    clips: Sequence[Clip], valid_fraction: float, speaker_depth: int
) -> tuple[list[Clip], list[Clip], str | None]:
    if not speaker_depth:
        return split_clips(clips, valid_fraction)
    for clip in clips:
        if clip.path.count("/") < speaker_depth:
            raise InputError(f"--speaker-depth {speaker_depth}: {clip.path} does not lie as deep, so has no speaker")
    return split_clips(clips, valid_fraction, lambda clip: "/".join(clip.path.split("/")[:speaker_depth]))


def _segment(
    root: Path, clips: Sequence[Clip], rules: SegmentRules, options: ManifestOptions
) -> tuple[list[Clip], list[Refusal]]:
    """Segments of speech of all files, and refusals."""
    segments: list[Clip] = []
    refusals: list[Refusal] = []
    rate_hz, workers = options.rules.sample_rate_hz, options.workers
    for clip, speech in zip(clips, find_speech(root, clips, sample_rate_hz=rate_hz, workers=workers)):
        kept, unusable = ([], [speech]) if isinstance(speech, Refusal) else segments_of(clip, speech, rules, rate_hz)
        segments += kept
        refusals += unusable
    if rules.cut_dir is not None:
        segments, unusable = cut_files(root, segments, rules.cut_dir, sample_rate_hz=rate_hz, workers=workers)
        refusals += unusable
    return segments, refusals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="AUDIO_DIR", type=Path, help="folder with audio, of any depth")
    parser.add_argument("--valid-fraction", type=float, default=0.01, help="share in valid.tsv, by hash of path (0.01)")
    parser.add_argument(
        "--speaker-depth",
        type=int,
        default=0,
        metavar="N",
        help="the first N folders of a path name its speaker, who is in one split only (0: split by file)",
    )
    parser.add_argument("--ext", nargs="+", default=EXTENSIONS, help=f"endings ({' '.join(EXTENSIONS)})")
    parser.add_argument("--vad", action="store_true", help="cut files into segments of speech (needs silero-vad)")
    add_segment_arguments(parser)


def prepare_from(args: argparse.Namespace) -> Prepared:
    """``prepare`` by the command line's options."""
    return prepare(
        args.root,
        options_of(args),
        valid_fraction=args.valid_fraction,
        speaker_depth=args.speaker_depth,
        segments=segment_rules_of(args) if args.vad else None,
        extensions=args.ext,
    )
