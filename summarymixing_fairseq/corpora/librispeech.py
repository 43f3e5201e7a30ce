"""LibriSpeech, read English books: manifests and letter labels for fine-tuning, and its dev and test parts.

Download: https://www.openslr.org/12 (CC BY 4.0), one archive a part; all unpack to one folder. The sets of 10 h, 1 h
and 10 min are Libri-Light's choice of it (https://github.com/facebookresearch/libri-light, librispeech_finetuning.tgz).

    LibriSpeech/SPEAKERS.TXT
    LibriSpeech/train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
    LibriSpeech/train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt     <utterance id> TEXT IN CAPITALS
    librispeech_finetuning/1h/{0..5}/{clean,other}/<speaker>/<chapter>/               10min: 1h/0; 10h: 1h and 9h
    librispeech_finetuning/9h/{clean,other}/<speaker>/<chapter>/

summarymixing manifest librispeech LIBRISPEECH_DIR --dest DIR --subset 100h

It writes train, dev_clean, dev_other, test_clean, test_other, and valid, which is one of the dev parts once more.
Allowed lengths are for train alone.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..system.errors import InputError
from ..system.files import read_text
from .audio.scan import EXTENSIONS, find_audio, read_clips
from .writing.corpus import TRAIN, Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions
from .writing.rows import Refusal

EVALUATION = ("dev-clean", "dev-other", "test-clean", "test-other")
_LIMITED = "librispeech_finetuning"
# Folders of each training set; those of the limited sets are below librispeech_finetuning.
_TRAIN_PARTS = {
    "960h": ("train-clean-100", "train-clean-360", "train-other-500"),
    "100h": ("train-clean-100",),
    "10h": ("1h", "9h"),
    "1h": ("1h",),
    "10min": ("1h/0",),
}
SUBSETS = tuple(_TRAIN_PARTS)
_IN_LIMITED = ("10h", "1h", "10min")
_TRANSCRIPTS = ".trans.txt"
_UTTERANCE_ID = re.compile(r"\d+-\d+-\d+")
_NOT_IN_TRANSCRIPTS = re.compile(r"[^A-Z' ]")


def prepare(
    root: Path,
    options: ManifestOptions,
    *,
    subset: str = "960h",
    limited_dir: Path | None = None,
    valid: str = "dev-clean",
) -> Prepared:
    """A training set, the dev and test parts that are there, and one dev part once more as valid.

    Limits of length are for train alone: an error rate is one of the whole part.

    Args:
        root: folder of the parts, or the one that they were unpacked in. subset: training set, of ``SUBSETS``.
        limited_dir: librispeech_finetuning (None: in or beside the folder of the parts). valid: dev part for valid.tsv.

    Raises:
        InputError: where a part that is needed is not there.
    """
    corpus_dir = _corpus_dir(root)
    parts = _train_folders(corpus_dir, subset, limited_dir)
    root = Path(os.path.commonpath([corpus_dir, *parts]))
    if not (corpus_dir / valid).is_dir():
        raise InputError(f"{corpus_dir / valid} does not exist: unpack {valid} there, or choose another by --valid")
    evaluation = [part for part in EVALUATION if (corpus_dir / part).is_dir()]
    notes = [f"valid is {valid}"]
    notes += [
        f"{_split_name(part)} is not written: {corpus_dir / part} does not exist"
        for part in EVALUATION
        if part not in evaluation
    ]
    check_existing(options, root)
    refusals: list[Refusal] = []
    texts = _read_parts(root, [corpus_dir / part for part in evaluation], options, refusals)
    clips = read_clips(root, sorted(texts), options, refusals, any_length=True)
    splits: dict[str, list[Utterance]] = {TRAIN: [], "valid": []}
    for part in evaluation:
        prefix = f"{(corpus_dir / part).relative_to(root).as_posix()}/"
        splits[_split_name(part)] = [
            Utterance(clip, texts[clip.path]) for clip in clips if clip.path.startswith(prefix)
        ]
    splits["valid"] = splits[_split_name(valid)]
    held_out = {_speaker(clip.path) for clip in clips}
    texts = _read_parts(root, parts, options, refusals)
    refusals += [Refusal(path, "speaker of dev or test") for path in texts if _speaker(path) in held_out]
    train = read_clips(root, sorted(path for path in texts if _speaker(path) not in held_out), options, refusals)
    splits[TRAIN] = [Utterance(clip, texts[clip.path]) for clip in train]
    num_found = len(train) + len(clips) + len(refusals)
    notes += [f"{name} is not written: it has no usable clip" for name, these in splits.items() if not these]
    return Prepared(root, splits, refusals, num_found, notes=notes, needed=(TRAIN, "valid"))


def held_out_speakers(source: Path) -> set[str]:
    """Readers of LibriSpeech's dev and test parts, by SPEAKERS.TXT: that file, or a folder that holds it.

    Raises:
        InputError: for a file that is missing or is no such table.
    """
    path = source / "SPEAKERS.TXT" if source.is_dir() else source
    try:
        lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: give LibriSpeech's SPEAKERS.TXT or the folder it is in") from None
    speakers = set()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        columns = [column.strip() for column in line.split("|", 3)]  # a name may hold a bar: it is the last column
        if len(columns) < 4 or not columns[0].isdecimal():
            raise InputError(f"{path}, line {number}: ID | SEX | SUBSET | MINUTES | NAME is needed")
        if columns[2].startswith(("dev-", "test-")):
            speakers.add(columns[0])
    if not speakers:
        raise InputError(f"{path} names no speaker of dev or test: give LibriSpeech's own SPEAKERS.TXT")
    return speakers


def _corpus_dir(folder: Path) -> Path:
    """The absolute folder of the parts: `folder`, or the LibriSpeech folder in it that the archives unpack to."""
    folder = Path(os.path.abspath(folder))
    known = [*EVALUATION, *_TRAIN_PARTS["960h"]]
    inner = folder / "LibriSpeech"
    return inner if inner.is_dir() and not any((folder / part).is_dir() for part in known) else folder


def _train_folders(corpus_dir: Path, subset: str, limited_dir: Path | None) -> list[Path]:
    parents = [corpus_dir]
    if subset in _IN_LIMITED:
        candidates = [limited_dir] if limited_dir else [corpus_dir / _LIMITED, corpus_dir.parent / _LIMITED]
        parents = [folder for folder in candidates if folder.is_dir()]
        if not parents:
            raise InputError(f"{candidates[0]} does not exist: unpack {_LIMITED}.tgz, and name its folder by --limited")
    folders = [Path(os.path.abspath(parents[0] / part)) for part in _TRAIN_PARTS[subset]]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} does not exist: --subset {subset} needs it; unpack it, or choose another")
    return folders


def _read_parts(
    root: Path, folders: Iterable[Path], options: ManifestOptions, refusals: list[Refusal]
) -> dict[str, str]:
    """Transcript of each audio file that has one, by its path relative to `root`."""
    texts: dict[str, str] = {}
    first_paths: dict[str, str] = {}
    for folder in folders:
        refused: list[Refusal] = []
        below_root = folder.relative_to(root).as_posix()
        found = find_audio(root, options, refused, (*EXTENSIONS, _TRANSCRIPTS), folder=below_root)
        transcripts = [path for path in found if path.lower().endswith(_TRANSCRIPTS)]
        audio: dict[str, str] = {}  # by the path without the ending
        for path in found:
            if path not in transcripts and (first := audio.setdefault(os.path.splitext(path)[0], path)) != path:
                refused.append(Refusal(path, "duplicate utterance id", f"the first: {first}"))
        refusals += refused
        already_refused = {refusal.path for refusal in refused}
        named = set()
        for transcript in transcripts:
            for utterance_id, text in _lines(root, transcript, refusals):
                stem = f"{os.path.dirname(transcript)}/{utterance_id}"
                path = audio.get(stem, f"{stem}.flac")
                named.add(path)
                if path in already_refused:
                    continue
                earlier = first_paths.get(utterance_id)
                first_paths.setdefault(utterance_id, path)
                if earlier == path:  # two lines for one file: the second line is refused
                    refusals.append(Refusal(transcript, "duplicate utterance id", f"two lines for {path}"))
                elif earlier is not None:
                    refusals.append(Refusal(path, "duplicate utterance id", f"the first: {earlier}"))
                elif not text:
                    refusals.append(Refusal(path, "empty transcript"))
                elif odd := _NOT_IN_TRANSCRIPTS.search(text):
                    refusals.append(Refusal(path, "transcript with more than A to Z and apostrophes", odd.group()))
                else:
                    texts[path] = text
        refusals += [Refusal(path, "no transcript") for path in audio.values() if path not in named]
    return texts


def _lines(root: Path, transcript: str, refusals: list[Refusal]) -> list[tuple[str, str]]:
    """Utterance id and text of each line of a file of transcripts."""
    try:
        lines = read_text(root / transcript).splitlines()
    except InputError as error:
        refusals.append(Refusal(transcript, "transcripts that cannot be read", str(error)))
        return []
    texts = []
    for number, line in enumerate(lines, 1):
        utterance_id, *text = line.split() or [""]
        if _UTTERANCE_ID.fullmatch(utterance_id):
            texts.append((utterance_id, " ".join(text)))
        elif utterance_id:
            refusals.append(Refusal(transcript, "a line that does not begin with an utterance id", f"line {number}"))
    return texts


def _speaker(path: str) -> str:
    return os.path.basename(path).split("-")[0]


def _split_name(part: str) -> str:
    """The name that fairseq's users know a part by: `dev-clean` -> `dev_clean`."""
    return part.replace("-", "_")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="LIBRISPEECH_DIR", type=Path, help="folder of dev-clean etc.")
    parser.add_argument(
        "--subset", choices=SUBSETS, help="what train holds; 10h, 1h and 10min are Libri-Light's (960h)"
    )
    parser.add_argument(
        "--limited",
        dest="limited_dir",
        type=Path,
        metavar="DIR",
        help=f"{_LIMITED} (default: in or beside LIBRISPEECH_DIR)",
    )
    parser.add_argument("--valid", choices=EVALUATION[:2], help="part in valid.tsv as well (dev-clean)")
