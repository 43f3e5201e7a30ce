"""One language of Mozilla Common Voice (Welsh, Basque or any other): manifests and letters, or subword pieces.

Sentences read aloud by volunteers, in more than a hundred languages; licence CC0. Download one archive a language from
https://commonvoice.mozilla.org or https://datacollective.mozillafoundation.org:

    cv-corpus-11.0-2022-09-21/
        cy/                       language: Welsh cy, Basque eu, ...; this folder is what the command is given
            train.tsv             client_id, path, sentence, up_votes, ...: columns differ between releases
            dev.tsv, test.tsv
            validated.tsv         all clips whose sentence listeners confirmed: train, dev, test and more
            other.tsv, invalidated.tsv, ...    not used
            clips/*.mp3           32 or 48 kHz

summarymixing manifest commonvoice cv-corpus-11.0-2022-09-21/cy --dest DIR [--bpe 100]

`train`, `valid` (dev.tsv) and `test` get manifests, words, and letters or, with --bpe N, N pieces by sentencepiece.
Texts are normalised (text/unicode_text.py); a sentence with digits is refused. Releases keep one recording of a
sentence, so train.tsv of many languages is far smaller than validated.tsv. `--train validated` takes all of the latter
but the speakers and sentences of dev and test. The benchmark MP3S leaves out clips over 10 s: `--max-seconds 10`.

With --bpe N, fine-tune with task.labels=bpeN and +criterion.post_process=sentencepiece.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..system.errors import InputError
from ..system.files import read_text
from .audio.scan import EXTENSIONS, read_clips
from .text.english_text import TextRefused
from .text.pieces import train_pieces
from .text.unicode_text import normalise
from .writing.corpus import TRAIN, Prepared, check_existing
from .writing.labels import LETTERS, Units, Utterance
from .writing.options import ManifestOptions, positive_int
from .writing.rows import Refusal

_CLIPS = "clips"
_ENDINGS = tuple(f".{extension}" for extension in EXTENSIONS)


@dataclass(frozen=True)
class Row:
    """One line of a table: path below the language's folder, sentence as written, speaker ("" unknown), language."""

    path: str
    sentence: str
    speaker: str
    language: str


def prepare(root: Path, options: ManifestOptions, *, train_table: str = "train", bpe: int | None = None) -> Prepared:
    """The splits of one language, with a text for each clip.

    Args:
        root: folder of the language.
        train_table: "train", or "validated" without the speakers and sentences of dev and test.
        bpe: write so many pieces, learnt from train, in DEST/SPLIT.bpeN in place of letters.

    Raises:
        InputError: if the folder is not one language, a table cannot be read, or `bpe` does not suit the texts.
    """
    if not (root / f"{train_table}.tsv").is_file():
        raise InputError(f"{root} holds no {train_table}.tsv: give the folder of one language, as CORPUS/cy")
    if not (root / _CLIPS).is_dir():
        raise InputError(f"{root / _CLIPS} is missing: unpack the clips of the release there")
    tables: dict[str, list[Row]] = {}
    check_existing(options, root)
    refusals: list[Refusal] = []
    notes: list[str] = []
    for split, name in ((TRAIN, train_table), ("valid", "dev"), ("test", "test")):
        if not (root / f"{name}.tsv").exists():
            notes.append(f"{root} has no {name}.tsv: no split {split}")
            continue
        tables[split], has_speakers = _read_table(root / f"{name}.tsv", refusals)
        if not has_speakers:
            notes.append(f"{name}.tsv has no column client_id: speakers in several splits go unnoticed")
    notes += _unnamed(root, {row.path for rows in tables.values() for row in rows} | {one.path for one in refusals})

    texts = _texts(tables, refusals)
    tables = _keep_apart(tables, texts, refusals, everything=train_table == "validated")
    wanted = sorted(row.path for rows in tables.values() for row in rows)
    clips = read_clips(root, wanted, options, refusals)
    by_path = {clip.path: clip for clip in clips}
    splits = {
        split: [Utterance(by_path[path], texts[path]) for path in sorted(row.path for row in rows) if path in by_path]
        for split, rows in tables.items()
    }

    units: Units = LETTERS
    files = {}
    if bpe is not None and any(splits.values()):  # where nothing is usable, write_corpus says why
        pieces = train_pieces([one.text or "" for one in splits[TRAIN]], bpe)
        units, files = {f"bpe{bpe}": pieces.encode}, {f"bpe{bpe}.model": pieces.model}
    return Prepared(root, splits, refusals, len(clips) + len(refusals), notes, files, units)


def _read_table(path: Path, refusals: list[Refusal]) -> tuple[list[Row], bool]:
    """Rows of a table in its order, and whether the table names speakers.

    The format is not CSV: quotation marks are part of a sentence and need not come in pairs. A clip that is named
    several times counts once if its sentence is always the same, else not at all.

    Raises:
        InputError: for a table that is not UTF-8 text, or lacks the columns `path` and `sentence`.
    """
    # not str.splitlines: it also splits at characters that a sentence may hold
    header, *table = (line.rstrip("\r").split("\t") for line in read_text(path, newline="").split("\n"))
    columns = [name.strip() for name in header]
    if not {"path", "sentence"} <= {*columns}:
        found = ", ".join(columns) or "none"
        raise InputError(f"{path}: columns path and sentence are needed in its first line, found: {found}")
    if twice := sorted({name for name in columns if name and columns.count(name) > 1}):
        raise InputError(f"{path}: column {twice[0]} is twice in its first line: unpack the release again")

    rows: dict[str, Row] = {}
    contradicted: set[str] = set()
    for number, fields in enumerate(table, start=2):
        if not any(field.strip() for field in fields):
            continue
        place = f"{path.name} line {number}"
        value = dict(zip(columns, map(str.strip, fields)))
        name = value.get("path")
        if not name:
            refusals.append(Refusal(place, "line without a path"))
            continue
        # early releases leave the ending out
        clip = f"{_CLIPS}/{name}" if name.lower().endswith(_ENDINGS) else f"{_CLIPS}/{name}.mp3"
        if "sentence" not in value:
            refusals.append(Refusal(clip, "line ends before the sentence", place))
        elif any(fields[len(columns) :]):
            refusals.append(Refusal(clip, "line with more columns than the table", place))
        elif clip in rows:
            if value["sentence"] != rows[clip].sentence:
                contradicted.add(clip)
            refusals.append(Refusal(clip, "named several times", place))
        else:
            language = value.get("locale") or path.absolute().parent.name
            rows[clip] = Row(clip, value["sentence"], value.get("client_id", ""), language)
    refusals += [Refusal(clip, "several transcripts for one clip", path.name) for clip in sorted(contradicted)]
    return [row for row in rows.values() if row.path not in contradicted], "client_id" in columns


def _unnamed(root: Path, named: set[str]) -> list[str]:
    """A note on clips of the folder that no chosen table names."""
    present = (name for name in os.listdir(root / _CLIPS) if not name.startswith("."))
    count = sum(name.lower().endswith(_ENDINGS) and f"{_CLIPS}/{name}" not in named for name in present)
    return [f"{count:,} clips of {_CLIPS}/ are named by no table used: left alone"] if count else []


def _texts(tables: dict[str, list[Row]], refusals: list[Refusal]) -> dict[str, str]:
    """Normalised text of each clip by its path, without clips whose texts are unusable."""
    texts: dict[str, str] = {}
    by_path: dict[str, list[Row]] = {}
    for row in (row for rows in tables.values() for row in rows):
        by_path.setdefault(row.path, []).append(row)
    for row, *others in by_path.values():
        if any(other.sentence != row.sentence for other in others):
            refusals.append(Refusal(row.path, "several transcripts for one clip", "in several tables"))
        elif ".." in PurePosixPath(row.path).parts:
            refusals.append(Refusal(row.path, f"path leads out of {_CLIPS}/"))
        else:
            try:
                texts[row.path] = normalise(row.sentence, row.language)
            except TextRefused as error:
                refusals.append(Refusal(row.path, str(error), row.sentence))
    return texts


def _keep_apart(
    tables: dict[str, list[Row]], texts: dict[str, str], refusals: list[Refusal], *, everything: bool
) -> dict[str, list[Row]]:
    """Tables with each clip in one split; train has no speaker of dev and test and, with `everything`, no sentence.

    In a release no speaker is in two splits, but users may make tables of their own. Clips without a text are left out:
    they have been refused before.
    """
    in_test = {row.path for row in tables.get("test", [])}
    held_out = [*tables.get("valid", []), *tables.get("test", [])]
    held_out_paths = {row.path for row in held_out}
    speakers = {row.speaker for row in held_out} - {""}
    sentences = {texts[row.path] for row in held_out if row.path in texts} if everything else set()
    kept: dict[str, list[Row]] = {split: [] for split in tables}
    for split, row in ((split, row) for split, rows in tables.items() for row in rows if row.path in texts):
        if split == "valid" and row.path in in_test:
            refusals.append(Refusal(row.path, "clip is in test too"))
        elif split != TRAIN:
            kept[split].append(row)
        elif row.path in held_out_paths:
            if not everything:  # validated.tsv names them by design
                refusals.append(Refusal(row.path, "clip is in dev or test too"))
        elif row.speaker in speakers:
            refusals.append(Refusal(row.path, "speaker is in dev or test"))
        elif texts[row.path] in sentences:
            refusals.append(Refusal(row.path, "sentence is in dev or test", row.sentence))
        else:
            kept[split].append(row)
    return kept


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="CV_DIR/LANG", type=Path, help="folder with train.tsv and clips/")
    parser.add_argument(
        "--train",
        dest="train_table",
        choices=("train", "validated"),
        help="table to train on; validated: all of it but the speakers and sentences of dev and test (train)",
    )
    parser.add_argument(
        "--bpe",
        type=positive_int,
        metavar="N",
        help="label by N pieces, as 100, that sentencepiece learns from train",
    )
