"""Write fairseq manifests for any folder of audio: DEST/train.tsv and DEST/valid.tsv.

python manifests/make_manifest.py AUDIO_DIR --dest DIR
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from ..system.errors import InputError
from .audio.audio_file import AudioRules
from .audio.scan import EXTENSIONS, find_audio, read_clips
from .audio.segments import SegmentRules, add_segment_arguments, cut_files, segment_rules_of, segments_of
from .writing.corpus import Prepared, Utterance, write_corpus
from .writing.options import shared_options
from .writing.splits import split_clips
from .writing.writer import Clip, Refusal

DESCRIPTION = "Write fairseq manifests for any folder of audio."


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
        raise InputError(f"--valid-fraction {valid_fraction:g} must be at least 0 and below 1")
    rules.check()
    found, refusals = find_audio(root, extensions, allow_outside_root=rules.allow_outside_root)
    if not found and not refusals:
        endings = ", ".join(extensions)
        raise InputError(f"no audio below {root} (endings looked for: {endings}; see --ext)")
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
            raise InputError(f"--speaker-depth {speaker_depth}: {clip.path} does not lie as deep, so has no speaker")
    return split_clips(clips, valid_fraction, lambda clip: "/".join(clip.path.split("/")[:speaker_depth]))


def _segment(
    root: Path, clips: Sequence[Clip], rules: SegmentRules, sample_rate_hz: int, workers: int | None
) -> tuple[Path, list[Clip], list[Refusal]]:
    """Segments of speech of all files, below the root they are relative to, and refusals."""
    from .audio.voice_activity import find_speech

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("audio_dir", metavar="AUDIO_DIR", type=Path, help="folder with audio, of any depth")
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


def prepare_from(args: argparse.Namespace) -> str:
    """``prepare`` by the command line's options; returns the summary to print."""
    return prepare(
        args.audio_dir,
        args.dest,
        valid_fraction=args.valid_fraction,
        speaker_depth=args.speaker_depth,
        segments=segment_rules_of(args) if args.vad else None,
        extensions=args.ext,
        **shared_options(args),
    )
