"""LibriSpeech, read English books: manifests and letter labels for fine-tuning, and its dev and test parts.

Had at https://www.openslr.org/12 (CC BY 4.0), one archive a part; all unpack to one folder. The sets of 10 h, 1 h and
10 min were chosen from it by Libri-Light (https://github.com/facebookresearch/libri-light, librispeech_finetuning.tgz).

    LibriSpeech/SPEAKERS.TXT
    LibriSpeech/train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac
    LibriSpeech/train-clean-100/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt     <utterance id> TEXT IN CAPITALS
    librispeech_finetuning/1h/{0..5}/{clean,other}/<speaker>/<chapter>/               10min: 1h/0; 10h: 1h and 9h
    librispeech_finetuning/9h/{clean,other}/<speaker>/<chapter>/

summarymixing manifest librispeech LIBRISPEECH_DIR --dest DIR --subset 100h

writes train, dev_clean, dev_other, test_clean, test_other, and as valid one of the dev parts once more.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..system.errors import InputError
from .audio.audio_file import AudioRules
from .audio.scan import read_clips
from .text.librispeech_text import read_parts
from .writing.corpus import TRAIN, Prepared, Utterance, write_corpus
from .writing.options import shared_options
from .writing.writer import Refusal, format_refusals, printable, write_files

DESCRIPTION = "Write fairseq manifests and letter labels of LibriSpeech. Allowed lengths are for train alone."

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


def prepare(
    librispeech_dir: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    subset: str = "960h",
    limited_dir: str | os.PathLike[str] | None = None,
    valid: str = "dev-clean",
    rules: AudioRules | None = None,
    workers: int | None = None,
    max_refused: float | None = None,
    force: bool = False,
) -> str:
    """Write manifests and labels of a training set and of the dev and test parts; returns the summary to print.

    `limited_dir` is librispeech_finetuning (None: in or beside `librispeech_dir`), `valid` the dev part that valid.tsv
    holds. The lengths that `rules` allow are for train alone: an error rate is one of the whole part.
    """
    rules, dest = rules or AudioRules(), Path(dest)
    rules.check()
    corpus_dir = _corpus_dir(Path(librispeech_dir))
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
    allow_outside_root = rules.allow_outside_root
    texts, refusals = read_parts(root, [corpus_dir / part for part in evaluation], allow_outside_root)
    utterances, unusable = _utterances(root, texts, replace(rules, min_seconds=None, max_seconds=None), workers)
    refusals += unusable
    splits = {}
    for part in evaluation:
        prefix = f"{(corpus_dir / part).relative_to(root).as_posix()}/"
        splits[_split_name(part)] = [one for one in utterances if one.clip.path.startswith(prefix)]
    held_out = {_speaker(one.clip.path) for one in utterances}
    texts, unusable = read_parts(root, parts, allow_outside_root)
    overlap = [path for path in texts if _speaker(path) in held_out]
    refusals += [*unusable, *(Refusal(path, "speaker of dev or test") for path in overlap)]
    for path in overlap:
        del texts[path]
    train, unusable = _utterances(root, texts, rules, workers, dest)
    refusals += unusable
    num_found = len(train) + len(utterances) + len(refusals)
    splits = {TRAIN: train, "valid": splits[_split_name(valid)], **splits}
    _check_not_empty(splits, refusals, dest, root, force)
    notes += [f"{name} is not written: it has no usable clip" for name, these in splits.items() if not these]
    corpus = Prepared(root, splits, refusals, num_found, notes=notes)
    return write_corpus(dest, corpus, sample_rate_hz=rules.sample_rate_hz, max_refused=max_refused, force=force)


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
    """The folder of the parts, absolute; also where the folder that the archives unpack to stands in `folder`."""
    if not folder.is_dir():
        what = "is no directory" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}: give the folder that holds dev-clean and the other parts")
    folder = Path(os.path.abspath(folder))
    known = [*EVALUATION, *_TRAIN_PARTS["960h"]]
    inner = folder / "LibriSpeech"
    return inner if inner.is_dir() and not any((folder / part).is_dir() for part in known) else folder


def _train_folders(corpus_dir: Path, subset: str, limited_dir: str | os.PathLike[str] | None) -> list[Path]:
    if subset not in _TRAIN_PARTS:
        raise InputError(f"--subset {subset} must be one of {', '.join(SUBSETS)}")
    parent = corpus_dir
    if subset in _IN_LIMITED:
        candidates = [Path(limited_dir)] if limited_dir else [corpus_dir / _LIMITED, corpus_dir.parent / _LIMITED]
        parent = next((folder for folder in candidates if folder.is_dir()), None)
        if parent is None:
            raise InputError(f"{candidates[0]} does not exist: unpack {_LIMITED}.tgz, and name its folder by --limited")
    folders = [Path(os.path.abspath(parent / part)) for part in _TRAIN_PARTS[subset]]
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder} does not exist: --subset {subset} needs it; unpack it, or choose another")
    return folders


def _utterances(
    root: Path, texts: dict[str, str], rules: AudioRules, workers: int | None, dest: Path | None = None
) -> tuple[list[Utterance], list[Refusal]]:
    """Utterances in the order of their paths, and what cannot be read."""
    clips, refusals = read_clips(root, sorted(texts), rules, workers=workers, dest=dest)
    return [Utterance(clip, texts[clip.path]) for clip in clips], refusals


def _speaker(path: str) -> str:
    return os.path.basename(path).split("-")[0]


def _split_name(part: str) -> str:
    """The name that fairseq's users know a part by: `dev-clean` -> `dev_clean`."""
    return part.replace("-", "_")


def _check_not_empty(
    splits: dict[str, list[Utterance]], refusals: Sequence[Refusal], dest: Path, root: Path, force: bool
) -> None:
    """Raise InputError where there is nothing to train with or to watch, with DEST/refused.tsv to say why."""
    empty = next((name for name in (TRAIN, "valid") if not splits[name]), None)
    if empty is None:
        return
    write_files({}, force=force, reports={dest / "refused.tsv": format_refusals(refusals)})
    first = f"; the first refused, {printable(refusals[0].path)}: {refusals[0].reason}" if refusals else ""
    raise InputError(f"{empty} has no usable clip below {root}{first}; {dest / 'refused.tsv'} lists all")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("librispeech_dir", metavar="LIBRISPEECH_DIR", type=Path, help="folder of dev-clean etc.")
    parser.add_argument(
        "--subset", choices=SUBSETS, default="960h", help="what train holds; 10h, 1h and 10min are Libri-Light's (960h)"
    )
    parser.add_argument(
        "--limited", type=Path, metavar="DIR", help=f"{_LIMITED} (default: in or beside LIBRISPEECH_DIR)"
    )
    parser.add_argument(
        "--valid", choices=EVALUATION[:2], default="dev-clean", help="part in valid.tsv as well (dev-clean)"
    )


def prepare_from(args: argparse.Namespace) -> str:
    """``prepare`` by the command line's options; returns the summary to print."""
    return prepare(
        args.librispeech_dir,
        args.dest,
        subset=args.subset,
        limited_dir=args.limited,
        valid=args.valid,
        **shared_options(args),
    )
