"""Libri-Light's unlabelled part, 58,000 h of read English books: manifests of segments of speech for pre-training.

Download: https://github.com/facebookresearch/libri-light (recordings of LibriVox: public domain). There are small.tar
(577 h), medium.tar (5,193 h more) and large.tar (51,934 h more). A fourth, duplicate.tar, holds books that may be read
twice.

    small/<speaker>/<book>/<name>.flac      one chapter, of many minutes; speakers are LibriVox's numbers
    small/<speaker>/<book>/<name>.json      {"speaker": ..., "book_meta": ..., "snr": ...,
                                             "voice_activity": [[start, end], ...]}  in seconds

summarymixing manifest librilight LIBRILIGHT_DIR --dest DIR --valid LIBRISPEECH_DIR/dev-clean \\
    --exclude-speakers LIBRISPEECH_DIR

A row is a segment of a chapter, of 10 to 30 s: path, samples, first sample. It joins stretches of speech, which the
.json names. LibriSpeech was made of the same recordings. Libri-Light leaves out the readers of its dev and test parts;
--exclude-speakers makes sure of it. --min-seconds and --max-seconds are of chapters.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..system.errors import InputError
from ..system.parallel import parallel_iter
from ..system.units import SAMPLE_RATE_HZ
from .audio.scan import EXTENSIONS, find_audio, read_clips
from .audio.segments import Interval, Speech, check_cut_dir, cut_files, find_speech, segment_files
from .librispeech import held_out_speakers
from .writing.corpus import TRAIN, Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions, add_segment_arguments
from .writing.rows import Clip, Refusal, format_manifest
from .writing.splits import check_valid_fraction, split_clips

SUBSETS = ("small", "medium", "large")
SIDECAR = ".json"
# Sidecars count speech in frames of 80 ms, so that the last stretch may end after the file does. One that is off by
# more than this belongs to another file.
_TOLERANCE_SECONDS = 1.0


def prepare(
    root: Path,
    options: ManifestOptions,
    *,
    subsets: Sequence[str] = (),
    vad: bool = False,
    valid_fraction: float = 0.0,
    valid_dir: Path | None = None,
    exclude_speakers: Path | None = None,
) -> Prepared:
    """Segments of the chapters below `root`, for train and perhaps valid.

    Args:
        subsets: folders of `root` (none: small, medium and large where they are there, else the whole folder).
        vad: find speech by a model, and do not read sidecars.
        valid_fraction: share of the speakers in valid.tsv. valid_dir: or all audio of this folder.
        exclude_speakers: LibriSpeech's SPEAKERS.TXT, or the folder it is in: leave out the speakers of dev and test.

    Raises:
        InputError: where there is no audio, a folder or SPEAKERS.TXT is not what it should be, or a split cannot be
            made.
    """
    cut_dir = options.segments.cut_dir
    check_valid_fraction(valid_fraction)
    if valid_dir and valid_fraction:
        raise InputError("--valid and --valid-fraction both say what valid.tsv holds: give one of them")
    if valid_dir:
        check_cut_dir(cut_dir, valid_dir)
    held_out = held_out_speakers(exclude_speakers) if exclude_speakers else None
    refusals: list[Refusal] = []
    notes: list[str] = []
    paths = _find(root, subsets, options, refusals, notes)
    check_existing(options, cut_dir or root)
    num_found = len(paths) + len(refusals)
    valid: list[Clip] = []
    if valid_dir:
        unusable: list[Refusal] = []
        valid = _read_valid(valid_dir, options, unusable)
        num_found += len(valid) + len(unusable)
        refusals += unusable
    paths = _without_speakers(paths, held_out, valid, refusals, notes)
    clips = _without_duplicates(read_clips(root, paths, options, refusals), refusals)
    if vad:
        speech: Speech = find_speech(root, clips, options)
    else:
        read = functools.partial(_read_sidecar, root=os.path.abspath(root))
        speech = parallel_iter(read, clips, workers=options.workers, description="reading sidecars")
    rows = segment_files(clips, speech, options, refusals, notes)
    splits = {TRAIN: rows, "valid": []}
    if valid_fraction:
        splits[TRAIN], splits["valid"], moved = split_clips(rows, valid_fraction, lambda clip: _speaker(clip.path))
        notes += moved
    if cut_dir is not None:
        splits = {name: cut_files(root, these, cut_dir, options, refusals) for name, these in splits.items()}
        root = cut_dir
    files = {}
    if valid_dir:
        files["valid.tsv"] = format_manifest(valid_dir, valid)
        num_seconds = sum(clip.num_samples for clip in valid) / SAMPLE_RATE_HZ
        notes.append(f"valid: {len(valid):,} clips, {num_seconds / 3600:.2f} h of {valid_dir}")
    elif not valid_fraction:
        notes.append("valid.tsv is not written: give --valid LIBRISPEECH_DIR/dev-clean, or --valid-fraction")
    utterances = {name: list(map(Utterance, these)) for name, these in splits.items()}
    return Prepared(root, utterances, refusals, num_found, notes=notes, files=files)


def _find(
    root: Path, subsets: Sequence[str], options: ManifestOptions, refusals: list[Refusal], notes: list[str]
) -> list[str]:
    """Paths of chapters, subset by subset; other audio is refused. A sidecar alone names a chapter too."""
    folders = list(dict.fromkeys(subsets)) or [name for name in SUBSETS if (root / name).is_dir()]
    others = [entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith(".")]
    others = sorted(set(others) - set(folders)) if folders else []
    if others:
        notes.append(f"not looked at in {root}: {', '.join(others)} (see --subset)")
    cut_dir = options.segments.cut_dir
    chapters: list[str] = []
    for folder in folders or [""]:
        if folder and (Path(folder).name != folder or not (root / folder).is_dir()):
            raise InputError(f"--subset {folder}: no such folder in {root}: give the names of folders there")
        check_cut_dir(cut_dir, root / folder)
        refused: list[Refusal] = []
        found = find_audio(root, options, refused, (*EXTENSIONS, SIDECAR), folder=folder)
        refused = [one for one in refused if not _is_sidecar(one.path)]
        paths = {path for path in found if not _is_sidecar(path)}
        with_audio = {os.path.splitext(path)[0] for path in (*paths, *(one.path for one in refused))}
        sidecars = (os.path.splitext(path)[0] for path in found if _is_sidecar(path))
        paths.update(f"{stem}.flac" for stem in sidecars if stem not in with_audio and _speaker(stem))
        refusals += refused
        chapters += sorted(path for path in paths if _speaker(path))
        refusals += [Refusal(path, "not in SPEAKER/BOOK/") for path in sorted(paths) if not _speaker(path)]
    if not chapters and not refusals:
        raise InputError(f"no audio below {root}: give the folder that holds small, medium or large")
    return chapters


def _is_sidecar(path: str) -> bool:
    return path.lower().endswith(SIDECAR)


def _speaker(path: str) -> str:
    """Speaker of `.../SPEAKER/BOOK/NAME`, the number of a reader at LibriVox; "" for a path of another form."""
    parts = path.rsplit("/", 3)[-3:]
    return parts[0] if len(parts) == 3 and parts[0].isdecimal() else ""


def _read_valid(folder: Path, options: ManifestOptions, refusals: list[Refusal]) -> list[Clip]:
    """All audio below `folder`, of any length; what cannot be used is refused by its absolute path."""
    refused: list[Refusal] = []
    found = find_audio(folder, options, refused)
    clips = read_clips(folder, found, options, refused, any_length=True)
    if not clips:
        raise InputError(f"--valid {folder}: no usable audio below it")
    refusals += [replace(one, path=(folder / one.path).as_posix()) for one in refused]
    return clips


def _without_speakers(
    paths: Sequence[str], held_out: set[str] | None, valid: Sequence[Clip], refusals: list[Refusal], notes: list[str]
) -> list[str]:
    """Paths without those of held-out speakers and of those in valid.tsv."""
    in_valid = {_speaker(clip.path) for clip in valid}
    kept: list[str] = []
    num_held_out = 0
    for path in paths:
        speaker = _speaker(path)
        if held_out and speaker in held_out:
            refusals.append(Refusal(path, "speaker of LibriSpeech dev or test", speaker))
            num_held_out += 1
        elif speaker in in_valid:
            refusals.append(Refusal(path, "speaker of --valid", speaker))
        else:
            kept.append(path)
    if held_out is None:
        notes.append("speakers of LibriSpeech dev and test were not looked for: see --exclude-speakers")
    else:
        notes.append(f"--exclude-speakers left out {num_held_out:,} files")
    return kept


def _without_duplicates(clips: Sequence[Clip], refusals: list[Refusal]) -> list[Clip]:
    """Clips in the order of their paths, without chapters that an earlier subset has too."""
    first_of: dict[str, Clip] = {}
    for clip in clips:
        chapter = "/".join(os.path.splitext(clip.path)[0].rsplit("/", 3)[-3:])
        first = first_of.setdefault(chapter, clip)
        if first is not clip:
            refusals.append(Refusal(clip.path, "the same chapter twice", f"the first: {first.path}"))
    return sorted(first_of.values(), key=lambda clip: clip.path)


def _read_sidecar(clip: Clip, root: str) -> list[Interval] | Refusal:
    """Stretches of speech, [start, end] in seconds, that the sidecar of a chapter names; or why it cannot be used."""
    sidecar = os.path.join(root, os.path.splitext(clip.path)[0] + SIDECAR)
    try:
        with open(sidecar, encoding="utf-8-sig") as file:
            content = json.load(file)
    except FileNotFoundError:
        return Refusal(clip.path, "no sidecar (--vad finds speech without)")
    except (ValueError, RecursionError) as error:
        return Refusal(clip.path, "sidecar that is not JSON", str(error))
    except OSError as error:
        return Refusal(clip.path, "sidecar that cannot be read", error.strerror or "")
    speech = content.get("voice_activity") if isinstance(content, dict) else None
    if speech is None:
        return Refusal(clip.path, "sidecar without voice_activity")
    if not isinstance(speech, list):
        return Refusal(clip.path, "voice_activity that is no list of [start, end] in seconds", type(speech).__name__)
    latest = clip.num_samples / SAMPLE_RATE_HZ + _TOLERANCE_SECONDS
    for pair in speech:
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) and pair[0] <= pair[1]):
            return Refusal(clip.path, "voice_activity that is no list of [start, end] in seconds", f"{pair!r:.40}")
        if pair[0] < -_TOLERANCE_SECONDS or pair[1] > latest:
            return Refusal(clip.path, "voice_activity outside the file (of another one?)", f"{pair!r:.40}")
    return [(float(start), float(end)) for start, end in speech]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="LIBRILIGHT_DIR", type=Path, help="folder with small, medium, large")
    parser.add_argument(
        "--subset",
        dest="subsets",
        nargs="+",
        metavar="NAME",
        help="folders to take (small, medium and large if there)",
    )
    parser.add_argument("--vad", action="store_true", help="find speech by silero-vad; sidecars are not read")
    parser.add_argument(
        "--valid",
        dest="valid_dir",
        type=Path,
        metavar="DIR",
        help="valid.tsv: all audio of this folder, LIBRISPEECH_DIR/dev-clean for one",
    )
    parser.add_argument("--valid-fraction", type=float, help="valid.tsv: share of the speakers (0)")
    parser.add_argument(
        "--exclude-speakers",
        type=Path,
        metavar="PATH",
        help="leave out speakers of LibriSpeech dev and test: its SPEAKERS.TXT, or the folder it is in",
    )
    add_segment_arguments(parser)
