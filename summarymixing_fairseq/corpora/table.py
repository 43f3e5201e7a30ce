"""Your own recordings with transcripts or classes: manifests, labels and dictionaries out of a table.

summarymixing manifest table FILE --dest DIR [--preview]

FILE is one of these; a relative path of audio counts from its folder, or from --audio-dir:

    .csv, .tsv          a first line of column names; in .tsv quotation marks are characters like any other
    .jsonl, .json       an object a line, as NeMo's manifests (audio_filepath, offset, duration, text); also .gz
    .jsonl, .jsonl.gz   cuts of lhotse: a row for each supervision of a cut
    metadata.csv        id|text|normalised text, as LJSpeech, with its audio in wavs/
    a folder            of Kaldi's files: wav.scp (paths, no commands), and text, utt2spk, segments where they are
                        there; or with metadata.csv, .tsv or .jsonl; or with a .txt beside each audio file

What a column is, its name tells (audio, path, file_name, text, sentence, speaker, client_id, start, end, split, ...).
The summary says which was taken for what; --columns text=TRANSCRIPT says it yourself. A row with start and end, in
seconds, is a part of its file. --labels COLUMN ... writes classes, as SPLIT.COLUMN.

Texts become lower-case words by Unicode's properties (text/unicode_text.py): punctuation goes, a text with digits is
refused, since it is not known how they were read. --as-is changes nothing but the composed form and spaces. --preview
shows twenty texts before and after, and writes nothing.

--units says what a recogniser is trained on: letters (SPLIT.ltr), characters for scripts without spaces (SPLIT.chr), or
phones with spaces between in the column of the text (SPLIT.phn); --bpe N: N pieces (SPLIT.bpeN). Train with task.labels
of that name, and +criterion.post_process=sentencepiece for pieces, none for characters and phones.

train and valid are those of a column split. Without it they are split by speaker where speakers are known, so that none
is in both, else by file. Dictionaries are made of train.

`--to jsonl`, the way back: FILE is a folder of manifests, and DIR gets SPLIT.nemo.jsonl and SPLIT.lhotse.jsonl.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..system.errors import InputError, printable
from ..system.units import SAMPLE_RATE_HZ
from .audio.parts import Part, read_parts
from .audio.scan import EXTENSIONS, passed_over_notes
from .tables.json_manifests import as_json_lines
from .tables.reading import read_table
from .tables.table import Row, Table
from .text.english_text import TextRefused
from .text.pieces import train_pieces
from .text.unicode_text import normalise
from .writing.corpus import TRAIN, Prepared, check_existing, write_files
from .writing.labels import LETTERS, Units, Utterance
from .writing.options import ManifestOptions, positive_int
from .writing.rows import Clip, Refusal
from .writing.splits import check_valid_fraction, split_clips

# What a column may be, and the names that tell it, the first that is there.
ROLES = {
    "audio": ("audio", "audio_filepath", "audio_path", "audio_file", "path", "file_name", "filename", "filepath")
    + ("file", "wav", "wav_path", "wav_filename", "id"),
    "text": ("normalised", "text", "sentence", "transcript", "transcription", "normalized_text", "raw_text")
    + ("normalized_transcription",),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "start": ("start", "offset", "start_time", "begin", "start_seconds"),
    "end": ("end", "end_time", "stop", "end_seconds"),
    "duration": ("duration",),
    "split": ("split", "subset", "partition"),
    "language": ("language", "lang", "locale"),
}
UNITS: Mapping[str, Units] = {
    "letters": LETTERS,
    "characters": {"chr": lambda text: " ".join(text.replace(" ", ""))},
}
# Kinds of labels whose files would take the place of others.
_TAKEN = {"tsv", "wrd", "ltr", "chr", "phn", "txt", "model"}
_SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("valid", "validation", "val", "dev", "devel"), "valid"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
_FURTHER_SPLIT = re.compile(r"(train|valid|dev|test)[_-]\w+", re.ASCII)
_NUM_SHOWN = 20
_MAX_SECONDS = 1e9
# By how much a file may be longer than its row's duration, which may be rounded.
_MAX_LONGER_SECONDS = 1.0
# What stands between words in letters and in pieces.
_MARKS = "|\u2581"


@dataclass(frozen=True)
class _Entry:
    """A row: file, times in seconds, its text before and after normalising, and what else is known of it."""

    where: str
    path: str
    start: float | None
    end: float | None
    duration: float | None
    written: str
    text: str
    speaker: str
    split: str
    labels: Mapping[str, str]

    @property
    def part(self) -> tuple[str, float | None, float | None]:
        return self.path, self.start, self.end


def prepare(
    root: Path,
    options: ManifestOptions,
    *,
    columns: Sequence[str] = (),
    labels: Sequence[str] = (),
    audio_dir: Path | None = None,
    units: str = "letters",
    bpe: int | None = None,
    language: str = "",
    as_is: bool = False,
    valid_fraction: float = 0.05,
    preview: bool = False,
    to: str | None = None,
) -> Prepared | str:
    """The rows of a table, split and labelled; with `preview` what would become of texts, with `to` a summary.

    Args:
        root: the table, or a folder. columns: ROLE=NAME, where names do not tell what columns are.
        labels: columns of classes. audio_dir: folder that relative paths count from.
        units: "letters", "characters" or "phones"; bpe: so many pieces, learnt from train, in their place.
        language: code of the texts' language, where no column says it. as_is: do not normalise texts.
        valid_fraction: share of speakers or files in valid, where no column says the split.
        preview: write nothing. to: "jsonl": write a folder of manifests as JSON lines.

    Raises:
        InputError: for a table that cannot be read, columns that are not there, or a split that cannot be made.
    """
    if to is not None:
        left_out: list[str] = []
        files = as_json_lines(root, options, left_out)
        write_files(files, force=options.force)
        rows = [f"{path}: {content.count(chr(10)):,} rows" for path, content in files.items()]
        return "\n".join([*rows, *left_out])
    check_valid_fraction(valid_fraction)
    if bpe is not None and units != "letters":
        raise InputError(f"--bpe {bpe} and --units {units} both say what texts are written in: give one of them")
    refusals: list[Refusal] = []
    passed_over: Counter[str] = Counter()
    table = read_table(root, options, lambda names: bool(_guess("audio", names)), refusals, passed_over)
    if not table.rows:
        first = f"; the first, {refusals[0].path}: {refusals[0].reason}" if refusals else ""
        raise InputError(f"{root} has no row that can be used{first}")
    column_of = _choose(table, root, columns, labels)
    notes = [_told(table, column_of, labels), *passed_over_notes(passed_over, can_name=False)]
    folder = table.folder if audio_dir is None else audio_dir
    is_phones = units == "phones"
    entries = []
    refused_texts: list[tuple[str, str]] = []
    for row in table.rows:
        try:
            entries.append(_entry(row, column_of, labels, folder, language, as_is or is_phones))
        except TextRefused as error:
            refused_texts.append((row.cells.get(column_of.get("text", ""), ""), f"refused: {error}"))
            refusals.append(Refusal(row.where, str(error), refused_texts[-1][0]))
        except _Unusable as error:
            refusals.append(Refusal(row.where, *error.args))
    if preview:
        return _preview(notes, [(one.written, one.text) for one in entries if "text" in column_of], refused_texts)
    entries = _without_repetition(entries, refusals)
    audio_root = _common_folder(folder, [one.path for one in entries])
    notes.append(f"audio lies below {audio_root}")
    check_existing(options, audio_root)
    parts = [
        Part(
            os.path.relpath(one.path, audio_root),
            None if one.start is None else round(one.start * SAMPLE_RATE_HZ),
            None if one.end is None else round(one.end * SAMPLE_RATE_HZ),
        )
        for one in entries
    ]
    clips = read_parts(audio_root, parts, options, refusals)
    kept: dict[Clip, _Entry] = {}
    for clip, one in zip(clips, entries):
        if clip is not None and one.start is None and one.duration is not None:
            seconds = clip.num_samples / SAMPLE_RATE_HZ
            if seconds > one.duration + _MAX_LONGER_SECONDS:  # NeMo takes the beginning of the file then
                what = f"{one.duration:g} s, the file {seconds:.1f} s: give a start (offset) of 0 to take its beginning"
                refusals.append(Refusal(one.where, "a duration that is not the file's", what))
                continue
        if clip is not None and kept.setdefault(clip, one) is not one:
            refusals.append(Refusal(one.where, "the same samples as another row", f"{kept[clip].where}, {one.path}"))
    speakers_are_labels = column_of.get("speaker") in labels
    splits, split_notes = _split(kept, valid_fraction, "split" in column_of, speakers_are_labels)
    has_text = "text" in column_of
    utterances = {
        name: [
            Utterance(clip, None, {**kept[clip].labels, "phn": kept[clip].text})
            if has_text and is_phones
            else Utterance(clip, kept[clip].text if has_text else None, kept[clip].labels)
            for clip in these
        ]
        for name, these in splits.items()
    }
    written: Units = UNITS.get(units, LETTERS)
    further: dict[str, str | bytes] = {}
    if bpe is not None and any(splits.values()):  # where nothing is usable, write_corpus says why
        pieces = train_pieces([one.text or "" for one in utterances.get(TRAIN, ())], bpe)
        written, further = {f"bpe{bpe}": pieces.encode}, {f"bpe{bpe}.model": pieces.model}
    return Prepared(audio_root, utterances, refusals, len(kept) + len(refusals), notes + split_notes, further, written)


class _Unusable(ValueError):
    """A row that is refused: reason and detail."""


def _guess(role: str, names: Sequence[str]) -> str | None:
    """The column of a role by its name, letter case aside."""
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[known] for known in ROLES[role] if known in by_name), None)


def _choose(table: Table, root: Path, given: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Columns by their roles."""
    names = list(table.columns)
    there = f"{root} has the columns {', '.join(map(repr, names))}"
    column_of = {role: found for role in ROLES if (found := _guess(role, names)) is not None}
    for one in given:
        role, _, name = one.partition("=")
        if role not in ROLES or not name:
            raise InputError(f"--columns {one}: give ROLE=NAME, where ROLE is one of {', '.join(ROLES)}")
        column_of[role] = name
    for name in (*column_of.values(), *labels):
        if name not in names:
            raise InputError(f"column {name!r} is not there: {there}")
    for name in labels:
        if name in _TAKEN or name.startswith("bpe") or not re.fullmatch(r"[\w-]+", name):
            raise InputError(f"--labels {name}: no label file can have this ending, rename the column")
    if "audio" not in column_of:
        raise InputError(f"no column is known for audio: {there}; give --columns audio=NAME")
    if "text" not in column_of and not labels:
        raise InputError(f"no column is known for text: {there}; give --columns text=NAME, or --labels COLUMN")
    return column_of


def _told(table: Table, column_of: Mapping[str, str], labels: Sequence[str]) -> str:
    """Which column was taken for what."""
    taken = [f"{role}: {name}" for role, name in column_of.items()] + [f"label: {name}" for name in labels]
    unused = [name for name in table.columns if name not in (*column_of.values(), *labels)]
    return f"columns: {', '.join(taken)}" + (f" (not used: {', '.join(unused)})" if unused else "")


def _entry(
    row: Row, column_of: Mapping[str, str], labels: Sequence[str], folder: Path, language: str, as_is: bool
) -> _Entry:
    """Raises _Unusable or TextRefused for a row that lacks something, or has a text or time that is none."""
    cell = {role: row.cells.get(name, "") for role, name in column_of.items()}
    if not cell["audio"]:
        raise _Unusable("row without audio")
    text = ""
    if "text" in cell:
        text = _text(cell["text"], cell.get("language") or language, as_is)
    classes = {name: "_".join(row.cells.get(name, "").split()) for name in labels}
    for name, value in classes.items():
        if not value:
            raise _Unusable(f"row without {name}")
    start, end, duration = _times(cell)
    split = cell.get("split", "").lower()
    if "split" in cell and not (split in _SPLITS or _FURTHER_SPLIT.fullmatch(split)):
        raise _Unusable("split that is not train, valid or test", cell["split"])
    path = _locate(folder, cell["audio"])
    return _Entry(
        row.where,
        path,
        start,
        end,
        duration,
        cell.get("text", ""),
        text,
        cell.get("speaker", ""),
        _SPLITS.get(split, split),
        classes,
    )


def _text(written: str, language: str, as_is: bool) -> str:
    if not as_is:
        return normalise(written, language)
    text = " ".join(unicodedata.normalize("NFC", written).split())
    if not text:
        raise TextRefused("no words in transcript")
    if marks := sorted(set(_MARKS) & set(text)):
        raise TextRefused(f"text with {' and '.join(marks)}, which mark the ends of words in label files")
    return text


def _times(cell: Mapping[str, str]) -> tuple[float | None, float | None, float | None]:
    """Start, end and duration in seconds; a duration without a start is that of the whole file."""
    times = {}
    for role in ("start", "end", "duration"):
        try:
            times[role] = float(cell[role]) if cell.get(role) else None
        except ValueError:
            times[role] = math.nan
    start, end, duration = times["start"], times["end"], times["duration"]
    if start is None and end is None:
        if duration is not None and not 0 < duration < _MAX_SECONDS:
            raise _Unusable("duration is no time in seconds", cell["duration"][:80])
        return None, None, duration
    start = 0.0 if start is None else start
    if end is None and duration is not None:
        end = start + duration
    if not (0 <= start < _MAX_SECONDS and (end is None or start < end < _MAX_SECONDS)):
        raise _Unusable("start and end are no times in seconds", " ".join(map(str, cell.values()))[:80])
    return start, end, duration


def _locate(folder: Path, name: str) -> str:
    """Absolute path of a file; a name without an ending may be that of a file with one."""
    path = os.path.normpath(os.path.join(os.path.abspath(folder), name))
    if not path.lower().endswith(tuple(f".{ending}" for ending in EXTENSIONS)) and not os.path.exists(path):
        return next((f"{path}.{ending}" for ending in EXTENSIONS if os.path.exists(f"{path}.{ending}")), path)
    return path


def _without_repetition(entries: Sequence[_Entry], refusals: list[Refusal]) -> list[_Entry]:
    """Entries in the order of their audio, each part of a file once; those that contradict one another are refused."""
    by_part: dict[tuple[str, float | None, float | None], list[_Entry]] = {}
    for one in entries:
        by_part.setdefault(one.part, []).append(one)
    kept = []
    for first, *others in by_part.values():
        if any((one.text, one.labels, one.split) != (first.text, first.labels, first.split) for one in others):
            refusals += [
                Refusal(one.where, "several texts, labels or splits for one clip", one.path) for one in (first, *others)
            ]
        else:
            refusals += [Refusal(one.where, "named several times", one.path) for one in others]
            kept.append(first)
    return sorted(kept, key=lambda one: (one.path, one.start or 0.0, one.end or math.inf))


def _common_folder(folder: Path, paths: Sequence[str]) -> Path:
    """`folder` where all files lie below it, else the deepest folder that they do."""
    given = os.path.abspath(folder)
    folders = {os.path.dirname(path) for path in paths}
    inside = all(one == given or one.startswith(given.rstrip("/") + "/") for one in folders)
    return Path(given if inside else os.path.commonpath(folders))


def _split(
    kept: Mapping[Clip, _Entry], valid_fraction: float, by_column: bool, speakers_are_labels: bool
) -> tuple[dict[str, list[Clip]], list[str]]:
    """Clips of each split, and notes."""
    clips = list(kept)
    speakers = {one.speaker for one in kept.values()} - {""}
    if by_column:
        splits: dict[str, list[Clip]] = {}
        for clip in clips:
            splits.setdefault(kept[clip].split, []).append(clip)
        held_out = {kept[clip].speaker for name, these in splits.items() if name != TRAIN for clip in these} - {""}
        shared = held_out & {kept[clip].speaker for clip in splits.get(TRAIN, ())}
        notes = [f"WARNING: {len(shared):,} speakers are in train and in another split"] if shared else []
        if TRAIN not in splits:
            notes.append("no split is train: no dictionary is written")
        return splits, notes
    by_speaker = len(speakers) > 1 and not speakers_are_labels
    notes = []
    if speakers and not by_speaker:
        why = "there is one speaker" if len(speakers) == 1 else "speakers are labels"
        notes.append(f"train and valid are split by file: {why}")
    num_unknown = sum(not one.speaker for one in kept.values())
    if by_speaker and num_unknown:
        notes.append(f"{num_unknown:,} rows without a speaker are split by file")

    def group_of(clip: Clip) -> str:
        return kept[clip].speaker or clip.path

    train, valid, split_notes = split_clips(clips, valid_fraction, group_of if by_speaker else None)
    return {TRAIN: train, "valid": valid}, notes + split_notes


def _preview(notes: Sequence[str], texts: Sequence[tuple[str, str]], refused: Sequence[tuple[str, str]]) -> str:
    """Texts before and after, from all over the table; some that are refused are among them."""
    num_refused = min(len(refused), max(_NUM_SHOWN // 4, _NUM_SHOWN - len(texts)))
    shown = [*_spread(texts, _NUM_SHOWN - num_refused), *_spread(refused, num_refused)]
    lines = [*notes, f"{len(texts):,} texts are taken, {len(refused):,} refused; nothing is written"]
    lines += [line for before, after in shown for line in (f"- {before}", f"+ {after}")]
    return "\n".join(map(printable, lines))


def _spread(texts: Sequence[tuple[str, str]], number: int) -> list[tuple[str, str]]:
    number = min(number, len(texts))
    return [texts[position * len(texts) // number] for position in range(number)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="FILE", type=Path, help="table, or a folder that is one")
    parser.add_argument(
        "--columns", nargs="+", metavar="ROLE=NAME", help=f"what columns are, as text=TRANSCRIPT: {', '.join(ROLES)}"
    )
    parser.add_argument("--labels", nargs="+", metavar="COLUMN", help="columns of classes, as emotion or speaker")
    parser.add_argument("--audio-dir", type=Path, metavar="DIR", help="relative paths count from here (the table's)")
    parser.add_argument("--units", choices=(*UNITS, "phones"), help="what texts are written in (letters)")
    parser.add_argument("--bpe", type=positive_int, metavar="N", help="write N pieces, learnt from train, for letters")
    parser.add_argument("--language", metavar="CODE", help="of the texts, as tr or cy, where no column says it")
    parser.add_argument("--as-is", action="store_true", help="do not normalise texts")
    parser.add_argument(
        "--valid-fraction", type=float, help="share of speakers, or else of files, in valid, by hash (0.05)"
    )
    parser.add_argument("--preview", action="store_true", help="show 20 texts before and after, and write nothing")
    parser.add_argument(
        "--to", choices=("jsonl",), help="FILE is a folder of manifests: write them in NeMo's and lhotse's form"
    )
