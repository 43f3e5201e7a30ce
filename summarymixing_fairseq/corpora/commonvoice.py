"""Write fairseq manifests and labels for one language of Mozilla Common Voice: Welsh, Basque or any other.

summarymixing manifest commonvoice cv-corpus-11.0-2022-09-21/cy --dest DIR [--bpe 100]

Sentences read aloud by volunteers, in more than a hundred languages; licence CC0. Releases are had from
https://commonvoice.mozilla.org and https://datacollective.mozillafoundation.org, one archive for each language:

    cv-corpus-11.0-2022-09-21/
        cy/                       language: Welsh cy, Basque eu, ...; this folder is what the command is given
            train.tsv             client_id, path, sentence, up_votes, ...: columns differ between releases
            dev.tsv, test.tsv
            validated.tsv         all clips whose sentence listeners confirmed: train, dev, test and more
            other.tsv, invalidated.tsv, ...    not used
            clips/*.mp3           32 or 48 kHz

`train`, `valid` (dev.tsv) and `test` get manifests, words and letters or, with --bpe N, N pieces by sentencepiece.
Texts are normalised by unicode_text.py; a sentence with digits is refused. Releases keep one recording of a sentence,
so train.tsv of many languages is far smaller than validated.tsv: `--train validated` takes all of that but the
speakers and sentences of dev and test. MP3S, the benchmark of self-supervised models, leaves out clips over 10 s:
`--max-seconds 10`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..system.errors import InputError
from .audio.audio_file import AudioRules
from .audio.scan import EXTENSIONS, read_clips
from .text.english_text import TextRefused
from .text.pieces import train_pieces
from .text.unicode_text import normalise
from .writing.corpus import LETTERS, TRAIN, Prepared, Utterance, write_corpus
from .writing.options import positive_int, shared_options
from .writing.writer import Refusal, path_problem

DESCRIPTION = (
    "Write fairseq manifests and labels for one language of Mozilla Common Voice: Welsh (cy), Basque (eu) or any other."
)
EPILOG = (
    "MP3S leaves out clips over 10 s: --max-seconds 10. With --bpe N, fine-tune with task.labels=bpeN and "
    "criterion.post_process=sentencepiece."
)

TRAIN_TABLES = ("train", "validated")
_CLIPS = "clips"
_ENDINGS = tuple(f".{extension}" for extension in EXTENSIONS)


@dataclass(frozen=True)
class Row:
    """One line of a table: path below the language's folder, sentence as written, speaker ("" unknown), language."""

    path: str
    sentence: str
    speaker: str
    language: str


def prepare(
    language_dir: str | os.PathLike[str],
    dest: str | os.PathLike[str],
    *,
    rules: AudioRules | None = None,
    train_table: str = "train",
    bpe: int | None = None,
    workers: int | None = None,
    max_refused: float | None = None,
    force: bool = False,
) -> str:
    """Write manifests and labels of one language into `dest`; returns the summary to print.

    `train_table` is "train" or "validated" (the latter without the speakers and sentences of dev and test). With `bpe`,
    labels are that many pieces learnt from train, in DEST/SPLIT.bpeN, rather than letters.

    Raises:
        InputError: if the folder is not one language, a table cannot be read, nothing is usable, `bpe` does not
            suit the texts, or files exist with other content.
    """
    root, dest, rules = Path(language_dir), Path(dest), rules or AudioRules()
    rules.check()
    _check_layout(root, train_table)
    tables: dict[str, list[Row]] = {}
    refusals: list[Refusal] = []
    notes: list[str] = []
    for split, name in ((TRAIN, train_table), ("valid", "dev"), ("test", "test")):
        if not (root / f"{name}.tsv").exists():
            notes.append(f"{root} has no {name}.tsv: no split {split}")
            continue
        tables[split], unusable, has_speakers = read_table(root / f"{name}.tsv")
        refusals += unusable
        if not has_speakers:
            notes.append(f"{name}.tsv has no column client_id: speakers in several splits go unnoticed")
    notes += _unnamed(root, {row.path for rows in tables.values() for row in rows} | {one.path for one in refusals})

    texts, unusable = _texts(root, tables)
    refusals += unusable
    tables, unusable = _part(tables, texts, everything=train_table == "validated")
    refusals += unusable
    wanted = sorted(row.path for rows in tables.values() for row in rows)
    clips, unusable = read_clips(root, wanted, rules, workers=workers, dest=dest)
    refusals += unusable
    by_path = {clip.path: clip for clip in clips}
    splits = {
        split: [Utterance(by_path[path], texts[path]) for path in sorted(row.path for row in rows) if path in by_path]
        for split, rows in tables.items()
    }

    units, files = LETTERS, {}
    if bpe is not None and any(splits.values()):  # where nothing is usable, write_corpus says why
        pieces = train_pieces([one.text for one in splits[TRAIN]], bpe)
        units, files = {f"bpe{bpe}": pieces.encode}, {f"bpe{bpe}.model": pieces.model}
    corpus = Prepared(root, splits, refusals, len(clips) + len(refusals), notes, files)
    return write_corpus(
        dest, corpus, sample_rate_hz=rules.sample_rate_hz, units=units, max_refused=max_refused, force=force
    )


def _check_layout(root: Path, train_table: str) -> None:
    if train_table not in TRAIN_TABLES:
        raise InputError(f"--train {train_table} must be {' or '.join(TRAIN_TABLES)}")
    if not (root / f"{train_table}.tsv").is_file():
        raise InputError(f"{root} holds no {train_table}.tsv: give the folder of one language, as CORPUS/cy")
    if not (root / _CLIPS).is_dir():
        raise InputError(f"{root / _CLIPS} is missing: unpack the clips of the release there")


def read_table(path: Path) -> tuple[list[Row], list[Refusal], bool]:
    """Rows of a table in its order, refusals of bad lines, and whether the table names speakers.

    The format is no CSV: quotation marks are part of a sentence, and need not come in pairs. A clip that is named
    several times counts once if its sentence is always the same, else not at all.

    Raises:
        InputError: for a table that is no UTF-8 text, or lacks the columns `path` and `sentence`.
    """
    try:
        # Not str.splitlines: a sentence may hold a character that it takes for the end of a line.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}): unpack the release again") from None
    header, *lines = (line.rstrip("\r").split("\t") for line in lines)
    columns = {name.strip(): position for position, name in enumerate(header)}
    if not {"path", "sentence"} <= columns.keys():
        found = ", ".join(columns) if any(columns) else "none"
        raise InputError(f"{path}: columns path and sentence are needed in its first line, found: {found}")

    rows: dict[str, Row] = {}
    refusals: list[Refusal] = []
    contradicted: set[str] = set()
    for number, fields in enumerate(lines, start=2):
        if not any(field.strip() for field in fields):
            continue
        row, refusal = _row(fields, columns, f"{path.name} line {number}", path.absolute().parent.name)
        if row is None:
            refusals.append(refusal)
        elif row.path not in rows:
            rows[row.path] = row
        else:
            if row.sentence != rows[row.path].sentence:
                contradicted.add(row.path)
            refusals.append(Refusal(row.path, "named several times", f"{path.name} line {number}"))
    refusals += [Refusal(clip, "several transcripts for one clip", path.name) for clip in sorted(contradicted)]
    return [row for row in rows.values() if row.path not in contradicted], refusals, "client_id" in columns


def _row(fields: Sequence[str], columns: dict[str, int], place: str, folder: str) -> tuple[Row | None, Refusal | None]:
    """A row, or why it is none; `place` stands for the clip where none is named."""

    def value(column: str) -> str:
        position = columns.get(column, len(fields))
        return fields[position].strip() if position < len(fields) else ""

    name = value("path")
    if not name:
        return None, Refusal(place, "line without a path")
    if not name.lower().endswith(_ENDINGS):
        name += ".mp3"  # early releases leave it out
    clip = f"{_CLIPS}/{name}"
    if len(fields) <= columns["sentence"]:
        return None, Refusal(clip, "line ends before the sentence", place)
    if any(fields[len(columns) :]):
        return None, Refusal(clip, "line with more columns than the table", place)
    return Row(clip, value("sentence"), value("client_id"), value("locale") or folder), None


def _unnamed(root: Path, named: set[str]) -> list[str]:
    """A note on clips that lie in the folder but that no chosen table names, as most of validated.tsv and other.tsv."""
    present = (name for name in os.listdir(root / _CLIPS) if not name.startswith("."))
    count = sum(name.lower().endswith(_ENDINGS) and f"{_CLIPS}/{name}" not in named for name in present)
    return [f"{count:,} clips of {_CLIPS}/ are named by no table used: left alone"] if count else []


def _texts(root: Path, tables: dict[str, list[Row]]) -> tuple[dict[str, str], list[Refusal]]:
    """Normalised text of each clip by its path, and refusals of clips with unusable texts or names."""
    absolute_root = os.path.abspath(root)
    texts: dict[str, str] = {}
    refusals: list[Refusal] = []
    for row in {row.path: row for rows in tables.values() for row in rows}.values():
        if ".." in PurePosixPath(row.path).parts:
            refusals.append(Refusal(row.path, f"path leads out of {_CLIPS}/"))
        elif problem := path_problem(row.path) or path_problem(row.path, absolute_root):
            refusals.append(Refusal(row.path, problem))
        else:
            try:
                texts[row.path] = normalise(row.sentence, row.language)
            except TextRefused as error:
                refusals.append(Refusal(row.path, str(error), row.sentence))
    return texts, refusals


def _part(
    tables: dict[str, list[Row]], texts: dict[str, str], *, everything: bool
) -> tuple[dict[str, list[Row]], list[Refusal]]:
    """Tables with each clip in one split only, no speaker of dev and test in train; with `everything`, no sentence.

    Releases part speakers already, but tables that users cut anew need not. Clips without a text are left out: they
    are refused already.
    """
    held_out = [*tables.get("valid", []), *tables.get("test", [])]
    speakers = {row.speaker for row in held_out} - {""}
    held_out_paths = {row.path for row in held_out}
    train, valid, test = (
        [row for row in tables.get(split, []) if row.path in texts] for split in (TRAIN, "valid", "test")
    )
    valid, refusals = _without(valid, {row.path for row in test}, "clip is in test too")
    sentences: set[str] = set()
    if everything:
        train = [row for row in train if row.path not in held_out_paths]  # validated.tsv names them by design
        sentences = {texts[row.path] for row in held_out if row.path in texts}
    else:
        train, unusable = _without(train, held_out_paths, "clip is in dev or test too")
        refusals += unusable
    kept = []
    for row in train:
        if row.speaker in speakers:
            refusals.append(Refusal(row.path, "speaker is in dev or test"))
        elif texts[row.path] in sentences:
            refusals.append(Refusal(row.path, "sentence is in dev or test", row.sentence))
        else:
            kept.append(row)
    parted = {TRAIN: kept, "valid": valid, "test": test}
    return {split: parted[split] for split in tables}, refusals


def _without(rows: Sequence[Row], paths: set[str], reason: str) -> tuple[list[Row], list[Refusal]]:
    return [row for row in rows if row.path not in paths], [Refusal(r.path, reason) for r in rows if r.path in paths]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("language_dir", metavar="CV_DIR/LANG", type=Path, help="folder with train.tsv and clips/")
    parser.add_argument(
        "--train",
        choices=TRAIN_TABLES,
        default="train",
        help="table to train on; validated: all of it but the speakers and sentences of dev and test (train)",
    )
    parser.add_argument(
        "--bpe",
        type=positive_int,
        metavar="N",
        help="label by N pieces, as 100, that sentencepiece learns from train",
    )


def prepare_from(args: argparse.Namespace) -> str:
    """``prepare`` by the command line's options; returns the summary to print."""
    return prepare(
        args.language_dir,
        args.dest,
        train_table=args.train,
        bpe=args.bpe,
        **shared_options(args),
    )
