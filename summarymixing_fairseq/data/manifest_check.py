"""Check the manifests of a folder against the files: lengths, labels, and audio that two splits share."""

from __future__ import annotations

import codecs
import filecmp
import itertools
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.files import read_text
from ..system.parallel import parallel_iter
from ..system.units import SAMPLE_RATE_HZ
from .audio import DECODING_ERRORS, AudioHeader, header_problem, open_audio
from .clips import open_clip, sha256_of_clip
from .ctc_path import frames_needed
from .manifest import Clip, Manifest, OutsideRootError, archive_and_position, read_labels
from .unit_files import DICTIONARY_NAME

# Beside manifests that `summarymixing manifest join` (corpora/join.py) made: train may repeat rows, by their weights.
JOINED = "joined.txt"
OUTSIDE = "link out of the root"
MISSING = "missing file"
# Characters of a text that a finding shows.
_SHOWN = 40
# Of our front end as it is by default, and nearly of wav2vec 2.0's: frames of 20 ms. No checkpoint is at hand here.
FIRST_FRAME_SAMPLES, FRAME_SAMPLES = 1_360, 320


@dataclass
class Findings:
    """Result of a check.

    Attributes:
        problems: by kind, as (where, what).
        notes: lines about what is not wrong, but worth knowing.
        sizes: (rows,) samples of each split.
    """

    problems: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, kind: str, where: str, what: str = "") -> None:
        """Record a problem of one row or file."""
        self.problems[kind].append((where, what))


@dataclass
class _File:
    """An audio file: its header and size, or why it cannot be read, and its parts: split, first sample, last plus 1."""

    clip: Clip
    header: AudioHeader = AudioHeader(0, SAMPLE_RATE_HZ)
    num_bytes: int = 0
    problem: str | None = None
    parts: list[tuple[str, int, float]] = field(default_factory=list)


def read_file(clip: Clip) -> tuple[AudioHeader, int] | str:
    """Header of the file of a row and its size in bytes, or why it cannot be read."""
    if not os.path.exists(archive_and_position(clip.path)[0]):
        return MISSING
    try:
        path = open_clip(clip)
        with open_audio(path) as file:
            problem = header_problem(path, file, read_flac=False)
            num_bytes = path.stat().st_size if isinstance(path, Path) else len(path.getbuffer())
            return problem or (AudioHeader(file.frames, file.samplerate), num_bytes)
    except DECODING_ERRORS as error:
        return getattr(error, "strerror", None) or str(error).split(": ")[-1]


def check_folder(
    data_dir: Path,
    splits: Sequence[str],
    *,
    workers: int = 1,
    allow_outside_root: bool = False,
) -> Findings:
    """Check the manifests ``splits`` of a folder and the labels beside them.

    Args:
        workers: processes that read headers.
        allow_outside_root: also read files that are not below the manifests' roots.

    Raises:
        InputError: for a manifest that cannot be read as one.
    """
    findings = Findings()
    manifests = {split: Manifest(data_dir / f"{split}.tsv", allow_outside_root=allow_outside_root) for split in splits}
    copies = set()  # validation and test may have one set under two names
    for first, second in itertools.combinations((one for one in splits if not one.startswith("train")), 2):
        if second not in copies and filecmp.cmp(data_dir / f"{first}.tsv", data_dir / f"{second}.tsv", shallow=False):
            copies.add(second)
            findings.notes.append(f"{second}.tsv is {first}.tsv once more")
    is_joined = (data_dir / JOINED).is_file()
    files: dict[str, _File] = {}
    file_of_row: dict[str, list[_File]] = {split: [] for split in splits}
    for split, manifest in manifests.items():
        findings.sizes[split] = manifest.sizes
        seen: set[tuple[str, int | None]] = set()
        before, num_repeated = None, 0
        for number, clip in enumerate(manifest, start=2):
            row = (clip.name, clip.offset)
            if row == before and split == "train" and is_joined:
                num_repeated += 1
            elif row in seen:
                findings.add("twice in a split", f"{split}.tsv, line {number}", clip.name)
            seen.add(row)
            before = row
            file = files.setdefault(os.path.realpath(clip.path), _File(clip))
            try:
                clip.check_inside()
            except OutsideRootError as error:
                file.problem = OUTSIDE
                findings.add(OUTSIDE, f"{split}.tsv, line {number}", str(error))
            end = math.inf if clip.offset is None else clip.offset + clip.num_samples
            if split not in copies:
                file.parts.append((split, clip.offset or 0, end))
            file_of_row[split].append(file)
        if num_repeated:
            findings.notes.append(f"{num_repeated:,} rows of train repeat the row above, by the weights of {JOINED}")
    inside = [file for file in files.values() if file.problem != OUTSIDE]
    clips = [file.clip for file in inside]
    headers = parallel_iter(read_file, clips, workers=workers, description="reading headers")
    for found, file in zip(headers, inside):
        if isinstance(found, str):
            file.problem = found
        else:
            file.header, file.num_bytes = found
    for split, manifest in manifests.items():
        num_samples = manifest.sizes.copy()
        # of files that cannot be read, that is what is wrong with them
        num_samples[[bool(file.problem) for file in file_of_row[split]]] = np.iinfo(np.int64).max
        _check_labels(data_dir, split, num_samples, findings)
        for number, (clip, file) in enumerate(zip(manifest, file_of_row[split]), start=2):
            _check_row(f"{split}.tsv, line {number}", clip, file, findings)
    counts = Counter(file.header.sample_rate_hz for file in files.values() if not file.problem)
    for rate_hz, count in sorted(counts.items()):
        if rate_hz != SAMPLE_RATE_HZ:
            note = "speech_pretraining and speech_finetuning resample them, fairseq's own tasks fail"
            findings.notes.append(f"{count:,} files at {rate_hz} Hz: {note}")
    _check_overlaps(list(files.values()), findings)
    return findings


def _check_row(where: str, clip: Clip, file: _File, findings: Findings) -> None:
    num_frames, file_rate_hz = file.header
    num_samples = math.ceil(num_frames * SAMPLE_RATE_HZ / file_rate_hz)
    if file.problem == MISSING:
        findings.add(MISSING, where, clip.name)
    elif file.problem:
        if file.problem != OUTSIDE:  # has been told
            findings.add("unreadable file", where, f"{clip.name}: {file.problem}")
    elif clip.offset is not None:
        if clip.offset + clip.num_samples > num_samples:
            what = f"{clip.name}: ends at {clip.offset + clip.num_samples}, the file at {num_samples}"
            findings.add("part beyond the end of its file", where, what)
    elif abs(num_samples - clip.num_samples) > (file_rate_hz != SAMPLE_RATE_HZ):
        what = f"{clip.name}: {clip.num_samples} in the manifest, {num_samples} in the file"
        if clip.num_samples == num_frames:
            what += f", counted at its own {file_rate_hz} Hz"
        findings.add("other length", where, what)


def _check_labels(data_dir: Path, split: str, num_samples: np.ndarray, findings: Findings) -> None:
    num_frames = (num_samples - FIRST_FRAME_SAMPLES) // FRAME_SAMPLES + 1
    dictionaries = {path.name[len("dict.") : -len(".txt")]: path for path in sorted(data_dir.glob("dict.*.txt"))}
    words: list[str] = []
    for extension in dict.fromkeys(("wrd", "ltr", *dictionaries)):
        path, dictionary = data_dir / f"{split}.{extension}", dictionaries.get(extension)
        if not path.exists():
            if dictionary is not None:
                findings.notes.append(f"{path.name} is not there, though {dictionary.name} is")
            continue
        try:
            labels = read_labels(path, len(num_samples))
        except InputError as error:
            findings.add("labels that do not fit", path.name, str(error).split(" ", 1)[1])
            continue
        if dictionary is None and extension != "wrd":
            findings.notes.append(
                f"{path.name}: there is no dict.{extension}.txt to compare it with; training needs one"
            )
        if dictionary is not None and path.read_bytes().startswith(codecs.BOM_UTF8):
            findings.add("byte-order mark, which fairseq takes for a letter", path.name)
        if extension == "wrd":
            words = labels
        elif words:
            _check_words(words, labels, f"{split}.wrd", path, findings)
        known = None if dictionary is None else _symbols(dictionary)
        for number, line in enumerate(labels, start=1):
            if not line.strip():
                findings.add("empty label", f"{path.name}, line {number}")
            elif known is not None:
                for symbol in sorted(set(line.split()) - known):
                    findings.add(f"not in dict.{extension}.txt", f"{path.name}, line {number}", symbol)
                needed, frames = frames_needed(line.split()), max(0, int(num_frames[number - 1]))
                # one symbol alone may be a class, and units have one a frame
                if f"dict.{extension}.txt" != DICTIONARY_NAME and needed > max(frames, 1):
                    what = f"{needed} frames for its symbols and repeats, {frames} of 20 ms there"
                    findings.add("transcript longer than its clip", f"{path.name}, line {number}", what)


def _check_words(words: list[str], labels: list[str], name: str, path: Path, findings: Findings) -> None:
    """Compare words with what letters or pieces spell, in composed form; other labels mark no words."""
    mark = "|" if path.suffix == ".ltr" else "\u2581"
    if not any(mark in line for line in labels):
        return
    for number, (line, symbols) in enumerate(zip(words, labels), start=1):
        spelled = " ".join(symbols.replace(" ", "").replace(mark, " ").split())
        line = " ".join(line.split())
        if unicodedata.normalize("NFC", line) != unicodedata.normalize("NFC", spelled):
            what = f"{line[:_SHOWN]!r}, but {path.name} spells {spelled[:_SHOWN]!r}"
            findings.add(f"words other than in {path.suffix}", f"{name}, line {number}", what)


def _symbols(path: Path) -> set[str]:
    """First columns of one of fairseq's dictionaries, without an import of fairseq, which takes seconds."""
    return {line.rsplit(" ", 1)[0] for line in read_text(path).split("\n") if line.strip()}


def _check_overlaps(files: list[_File], findings: Findings) -> None:
    """Find audio that is in two splits: by its path, or by the content of its file."""
    for file in files:
        _check_overlap([file], findings)
    # Only files of one length can have the same content, and only those of two splits matter: few have to be read.
    by_length: dict[tuple[int, int], list[_File]] = defaultdict(list)
    for file in files:
        if not file.problem:
            by_length[file.num_bytes, file.header.num_frames].append(file)
    for alike in by_length.values():
        if len({part[0] for file in alike for part in file.parts}) < 2:
            continue
        by_content: dict[str, list[_File]] = defaultdict(list)
        for file in alike:
            try:
                by_content[sha256_of_clip(file.clip)].append(file)
            except InputError:
                continue  # it has vanished since its header was read
        for same in by_content.values():
            if len(same) > 1:
                _check_overlap(same, findings)


def _check_overlap(files: list[_File], findings: Findings) -> None:
    """Record the first part of each split that overlaps one of another split; ``files`` have the same content."""
    parts = sorted((start, end, split, file.clip.path) for file in files for split, start, end in file.parts)
    latest: dict[str, tuple[float, Path]] = {}  # the part of each split that ends last
    for start, end, split, path in parts:
        for other, (other_end, other_path) in latest.items():
            if other != split and start < other_end:
                where = f"{other}.tsv and {split}.tsv"
                if path == other_path:
                    findings.add("in two splits", where, str(path))
                else:
                    findings.add("same content in two splits", where, f"{other_path} and {path}")
        if end > latest.get(split, (-1.0, path))[0]:
            latest[split] = (end, path)
