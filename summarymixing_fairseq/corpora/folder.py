"""Any folder of audio: DEST/train.tsv and DEST/valid.tsv.

summarymixing manifest folder AUDIO_DIR --dest DIR
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..system.errors import InputError
from .audio.scan import EXTENSIONS, find_audio, passed_over_notes, read_clips
from .audio.segments import check_cut_dir, cut_files, find_speech, segment_files
from .writing.corpus import Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions, add_segment_arguments
from .writing.rows import Clip, Refusal
from .writing.splits import check_valid_fraction, split_clips


def prepare(
    root: Path,
    options: ManifestOptions,
    *,
    valid_fraction: float = 0.01,
    speaker_depth: int = 0,
    vad: bool = False,
    extensions: Sequence[str] = EXTENSIONS,
) -> Prepared:
    """The audio below `root`, split into train and valid.

    Args:
        valid_fraction: share of the clips, chosen by the hash of their paths, for valid.tsv (0: there is none).
        speaker_depth: so many folders of a path name its speaker, who is in one split only (0: split by file).
        vad: cut files into segments by voice activity. extensions: endings of audio files.

    Raises:
        InputError: where there is no audio, a split cannot be made, or there is a folder to cut to without ``vad``.
    """
    check_valid_fraction(valid_fraction)
    cut_dir = options.segments.cut_dir
    if cut_dir and not vad:
        raise InputError(f"--cut {cut_dir}: segments of speech are cut, so give --vad too")
    check_cut_dir(cut_dir, root)
    refusals: list[Refusal] = []
    notes: list[str] = []
    check_existing(options, cut_dir or root, parts=vad and not cut_dir)
    passed_over: Counter[str] = Counter()
    found = find_audio(root, options, refusals, extensions, passed_over=passed_over)
    notes += passed_over_notes(passed_over, can_name=True)
    num_found = len(found) + len(refusals)
    if not num_found:
        what = "; ".join([f"endings looked for: {', '.join(extensions)}; see --ext", *notes])
        raise InputError(f"no audio below {root} ({what})")
    clips = read_clips(root, found, options, refusals)
    if vad:
        clips = segment_files(clips, find_speech(root, clips, options), options, refusals, notes)
        if cut_dir:
            clips, root = cut_files(root, clips, cut_dir, options, refusals), cut_dir
    for clip in clips:
        if clip.path.count("/") < speaker_depth:
            raise InputError(f"--speaker-depth {speaker_depth}: {clip.path} does not lie as deep, so has no speaker")

    def speaker_of(clip: Clip) -> str:
        return "/".join(clip.path.split("/")[:speaker_depth])

    train, valid, notes_on_split = split_clips(clips, valid_fraction, speaker_of if speaker_depth else None)
    splits = {"train": [Utterance(clip) for clip in train], "valid": [Utterance(clip) for clip in valid]}
    return Prepared(root, splits, refusals, num_found, notes + notes_on_split)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="AUDIO_DIR", type=Path, help="folder with audio, of any depth")
    parser.add_argument("--valid-fraction", type=float, help="share in valid.tsv, by hash of path (0.01)")
    parser.add_argument(
        "--speaker-depth",
        type=int,
        metavar="N",
        help="the first N folders of a path name its speaker, who is in one split only (0: split by file)",
    )
    parser.add_argument("--ext", dest="extensions", nargs="+", metavar="EXT", help=f"endings ({' '.join(EXTENSIONS)})")
    parser.add_argument("--vad", action="store_true", help="cut files into segments of speech (needs silero-vad)")
    add_segment_arguments(parser)
