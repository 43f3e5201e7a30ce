"""Libri-Light's unlabelled part, 58,000 h of read English books: manifests of segments of speech for pre-training.

Had at https://github.com/facebookresearch/libri-light (recordings of LibriVox: public domain): small.tar (577 h),
medium.tar (5,193 h more) and large.tar (51,934 h more). A fourth, duplicate.tar, holds books that may be read twice.

    small/<speaker>/<book>/<name>.flac      one chapter, of many minutes; speakers are LibriVox's numbers
    small/<speaker>/<book>/<name>.json      {"speaker": ..., "book_meta": ..., "snr": ...,
                                             "voice_activity": [[start, end], ...]}  in seconds

summarymixing manifest librilight LIBRILIGHT_DIR --dest DIR --valid LIBRISPEECH_DIR/dev-clean \
    --exclude-speakers LIBRISPEECH_DIR

A row is a segment of a chapter, of 10 to 30 s, joined from its stretches of speech: path, samples, first sample.
LibriSpeech was made of the same recordings: Libri-Light was made without the readers of its dev and test parts, and
--exclude-speakers makes sure of it. --min-seconds and --max-seconds are of chapters.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..system.errors import InputError
from .audio.audio_file import AudioRules
from .audio.librilight_speech import SIDECAR, segment_chapters
from .audio.scan import EXTENSIONS, find_audio, read_clips
from .audio.segments import SegmentRules, add_segment_arguments, cut_files, segment_rules_of
from .librispeech import held_out_speakers
from .writing.corpus import TRAIN, Prepared, Utterance, write_corpus
from .writing.options import shared_options
from .writing.splits import split_clips
from .writing.writer import Clip, Refusal, format_manifest

DESCRIPTION = (
    "Write fairseq manifests of Libri-Light, cut to segments of speech. "
    "--min-seconds and --max-seconds are of whole files."
)

SUBSETS = ("small", "medium", "large")
_HELD_OUT = "speaker of LibriSpeech dev or test"


def prepare(
    librilight_dir: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    subsets: Sequence[str] = (),
    rules: AudioRules | None = None,
    segments: SegmentRules | None = None,
    vad: bool = False,
    valid_fraction: float = 0.0,
    valid_dir: str | os.PathLike[str] | None = None,
    exclude_speakers: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    max_refused: float | None = None,
    force: bool = False,
) -> str:
    """Write the manifests of the corpus into `dest`; returns the summary to print.

    `subsets` are folders of `librilight_dir`; with none, those of small, medium and large that are there, or else the
    whole folder. `vad` finds speech by a model, whatever the sidecars say. valid.tsv holds either `valid_fraction` of
    the speakers or all audio below `valid_dir`. `exclude_speakers`: LibriSpeech's SPEAKERS.TXT, or the folder it is in.
    """
    root, dest, rules, segments = Path(librilight_dir), Path(dest), rules or AudioRules(), segments or SegmentRules()
    rules.check()
    segments.check()
    if not 0 <= valid_fraction < 1:
        raise InputError(f"--valid-fraction {valid_fraction:g} must be at least 0 and below 1")
    if valid_dir and valid_fraction:
        raise InputError("--valid and --valid-fraction both say what valid.tsv holds: give one of them")
    held_out = held_out_speakers(Path(exclude_speakers)) if exclude_speakers else None
    paths, refusals, notes = _find(root, subsets, segments.cut_dir, rules.allow_outside_root)
    valid, unusable = _read_valid(Path(valid_dir), rules, workers) if valid_dir else ([], [])
    num_found = len(paths) + len(refusals) + len(valid) + len(unusable)
    refusals += unusable
    paths, unusable, note = _without_speakers(paths, held_out, valid)
    refusals += unusable
    notes.append(note)
    clips, unusable = read_clips(root, paths, rules, workers=workers, dest=dest)
    refusals += unusable
    clips, unusable = _without_duplicates(clips)
    refusals += unusable
    rows, unusable, note = segment_chapters(root, clips, segments, rules.sample_rate_hz, vad, workers)
    refusals += unusable
    notes.append(note)
    splits = {TRAIN: rows, "valid": []}
    if rows and valid_fraction:
        splits[TRAIN], splits["valid"], note = split_clips(rows, valid_fraction, lambda clip: _speaker(clip.path))
        notes += [note] if note else []
    if segments.cut_dir is not None:
        for name, these in ((name, these) for name, these in splits.items() if these):
            splits[name], unusable = cut_files(
                root, these, segments.cut_dir, sample_rate_hz=rules.sample_rate_hz, workers=workers
            )
            refusals += unusable
        root = segments.cut_dir
    files = {}
    if valid:
        files["valid.tsv"] = format_manifest(Path(valid_dir), valid)
        num_seconds = sum(clip.num_samples for clip in valid) / rules.sample_rate_hz
        notes.append(f"valid: {len(valid):,} clips, {num_seconds / 3600:.2f} h of {valid_dir}")
    elif not valid_fraction:
        notes.append("valid.tsv is not written: give --valid LIBRISPEECH_DIR/dev-clean, or --valid-fraction")
    utterances = {name: list(map(Utterance, these)) for name, these in splits.items()}
    corpus = Prepared(root, utterances, refusals, num_found, notes=notes, files=files)
    return write_corpus(dest, corpus, sample_rate_hz=rules.sample_rate_hz, max_refused=max_refused, force=force)


def _find(
    root: Path, subsets: Sequence[str], cut_dir: Path | None, allow_outside_root: bool
) -> tuple[list[str], list[Refusal], list[str]]:
    """Paths of chapters, those of an earlier subset first; what is none; notes. A sidecar alone names a chapter too."""
    folders = list(dict.fromkeys(subsets)) or [name for name in SUBSETS if (root / name).is_dir()]
    notes = _other_folders(root, folders) if folders else []
    chapters: list[str] = []
    refusals: list[Refusal] = []
    for folder in folders or [""]:
        if folder and (Path(folder).name != folder or not (root / folder).is_dir()):
            raise InputError(f"--subset {folder}: no such folder in {root}: give the names of folders there")
        absolute = os.path.abspath(root / folder)
        if cut_dir and os.path.commonpath([absolute, os.path.abspath(cut_dir)]) == absolute:
            raise InputError(f"--cut {cut_dir} lies in {root / folder}: give a folder beside it")
        endings = (*EXTENSIONS, SIDECAR)
        found, refused = find_audio(root / folder, endings, top=root, allow_outside_root=allow_outside_root)
        prefix = f"{folder}/" if folder else ""
        refused = [replace(one, path=prefix + one.path) for one in refused if not _is_sidecar(one.path)]
        paths = {prefix + path for path in found if not _is_sidecar(path)}
        with_audio = {os.path.splitext(path)[0] for path in (*paths, *(one.path for one in refused))}
        sidecars = (os.path.splitext(prefix + path)[0] for path in found if _is_sidecar(path))
        paths.update(f"{stem}.flac" for stem in sidecars if stem not in with_audio and _speaker(stem))
        refusals += refused
        chapters += sorted(path for path in paths if _speaker(path))
        refusals += [Refusal(path, "not in SPEAKER/BOOK/") for path in sorted(paths) if not _speaker(path)]
    if not chapters and not refusals:
        raise InputError(f"no audio below {root}: give the folder that holds small, medium or large")
    return chapters, refusals, notes


def _is_sidecar(path: str) -> bool:
    return path.lower().endswith(SIDECAR)


def _other_folders(root: Path, folders: Sequence[str]) -> list[str]:
    others = sorted(
        entry.name
        for entry in os.scandir(root)
        if entry.is_dir() and entry.name not in folders and not entry.name.startswith(".")
    )
    return [f"not looked at in {root}: {', '.join(others)} (see --subset)"] if others else []


def _speaker(path: str) -> str | None:
    """Speaker of `.../SPEAKER/BOOK/NAME`, the number of a reader at LibriVox; None for a path of another form."""
    parts = path.rsplit("/", 3)[-3:]
    return parts[0] if len(parts) == 3 and parts[0].isdecimal() else None


def _read_valid(folder: Path, rules: AudioRules, workers: int | None) -> tuple[list[Clip], list[Refusal]]:
    """All audio below `folder`, whatever its length, and what cannot be used, by its whole path."""
    found, refusals = find_audio(folder, allow_outside_root=rules.allow_outside_root)
    any_length = replace(rules, min_seconds=None, max_seconds=None)
    clips, unusable = read_clips(folder, found, any_length, workers=workers)
    refusals += unusable
    if not clips:
        raise InputError(f"--valid {folder}: no usable audio below it")
    return clips, [replace(refusal, path=(folder / refusal.path).as_posix()) for refusal in refusals]


def _without_speakers(
    paths: Sequence[str], held_out: set[str] | None, valid: Sequence[Clip]
) -> tuple[list[str], list[Refusal], str]:
    """Paths without those of held-out speakers and of those in valid.tsv, refusals, and a note for the summary."""
    watched = {_speaker(clip.path) for clip in valid}
    kept: list[str] = []
    refusals: list[Refusal] = []
    for path in paths:
        speaker = _speaker(path)
        if held_out and speaker in held_out:
            refusals.append(Refusal(path, _HELD_OUT, speaker))
        elif speaker in watched:
            refusals.append(Refusal(path, "speaker of --valid", speaker))
        else:
            kept.append(path)
    if held_out is None:
        return kept, refusals, "speakers of LibriSpeech dev and test were not looked for: see --exclude-speakers"
    num_left_out = sum(refusal.reason == _HELD_OUT for refusal in refusals)
    return kept, refusals, f"--exclude-speakers left out {num_left_out:,} files"


def _without_duplicates(clips: Sequence[Clip]) -> tuple[list[Clip], list[Refusal]]:
    """Clips in the order of their paths without those that an earlier subset holds too."""
    first_paths: dict[str, str] = {}
    kept, refusals = [], []
    for clip in clips:
        chapter = "/".join(os.path.splitext(clip.path)[0].rsplit("/", 3)[-3:])
        first = first_paths.setdefault(chapter, clip.path)
        if first == clip.path:
            kept.append(clip)
        else:
            refusals.append(Refusal(clip.path, "the same chapter twice", f"the first: {first}"))
    return sorted(kept, key=lambda clip: clip.path), refusals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("librilight_dir", metavar="LIBRILIGHT_DIR", type=Path, help="folder with small, medium, large")
    parser.add_argument(
        "--subset", nargs="+", default=[], metavar="NAME", help="folders to take (small, medium and large if there)"
    )
    parser.add_argument("--vad", action="store_true", help="find speech by silero-vad; sidecars are not read")
    parser.add_argument(
        "--valid",
        type=Path,
        metavar="DIR",
        help="valid.tsv: all audio of this folder, LIBRISPEECH_DIR/dev-clean for one",
    )
    parser.add_argument("--valid-fraction", type=float, default=0.0, help="valid.tsv: share of the speakers (0)")
    parser.add_argument(
        "--exclude-speakers",
        type=Path,
        metavar="PATH",
        help="leave out speakers of LibriSpeech dev and test: its SPEAKERS.TXT, or the folder it is in",
    )
    add_segment_arguments(parser)


def prepare_from(args: argparse.Namespace) -> str:
    """``prepare`` by the command line's options; returns the summary to print."""
    return prepare(
        args.librilight_dir,
        args.dest,
        subsets=args.subset,
        segments=segment_rules_of(args),
        vad=args.vad,
        valid_fraction=args.valid_fraction,
        valid_dir=args.valid,
        exclude_speakers=args.exclude_speakers,
        **shared_options(args),
    )
