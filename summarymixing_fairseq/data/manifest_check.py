"""Every claim of a folder of manifests against the files: lengths, labels, and clips that two splits share."""

from __future__ import annotations

import hashlib
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..system.errors import InputError
from ..system.interrupts import ctrl_c_blocked, serve_parent
from . import audio
from .audio import SAMPLE_RATE_HZ
from .manifest import Clip, Manifest, OutsideRootError, read_labels

TEXT_EXTENSIONS = ("wrd",)
OUTSIDE = "link out of the root"
_FILES_PER_TASK = 64
_HASH_BLOCK_BYTES = 2**20


@dataclass(frozen=True)
class AudioHeader:
    """What a file says of itself; ``problem`` instead where it cannot be read."""

    num_frames: int = 0
    sample_rate_hz: int = 0
    num_bytes: int = 0
    problem: str | None = None


@dataclass
class Findings:
    """What is wrong, by kind; ``notes`` are worth knowing, but wrong they are not.

    Attributes:
        problems: examples by kind, as (where, what), each with all that were found.
        notes: lines.
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
    """One audio file of a folder of manifests, and the parts of it that each split has."""

    path: Path
    header: AudioHeader | None = None
    parts: list[tuple[str, int, float]] = field(default_factory=list)  # split, first sample, the one after the last


def read_header(path: Path) -> AudioHeader:
    """Length and rate of a file by its header."""
    try:
        num_bytes = os.stat(path).st_size
        return AudioHeader(*audio.read_header(path), num_bytes)
    except FileNotFoundError:
        return AudioHeader(problem="no such file")
    except audio.DECODING_ERRORS as error:
        return AudioHeader(problem=getattr(error, "strerror", None) or str(error).split(": ")[-1])


def check_folder(
    data_dir: Path,
    splits: Sequence[str],
    *,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    workers: int = 1,
    allow_outside_root: bool = False,
) -> Findings:
    """Check the manifests ``splits`` of a folder and the labels beside them.

    Args:
        sample_rate_hz: that rows count samples at; workers: processes that read headers.
        allow_outside_root: look at files that are not below the manifests' roots too.

    Raises:
        InputError: for a manifest that cannot be read as one.
    """
    findings = Findings()
    files: dict[str, _File] = {}
    manifests = {split: Manifest(data_dir / f"{split}.tsv", allow_outside_root=allow_outside_root) for split in splits}
    file_of_row: dict[str, list[_File]] = {split: [] for split in splits}
    for split, manifest in manifests.items():
        findings.sizes[split] = manifest.sizes
        seen: set[tuple[str, int | None]] = set()
        for number, clip in enumerate(manifest, start=2):
            if (clip.name, clip.offset) in seen:
                findings.add("twice in a split", f"{split}.tsv, line {number}", clip.name)
            seen.add((clip.name, clip.offset))
            file = files.setdefault(os.path.realpath(clip.path), _File(clip.path))
            try:
                clip.check_inside()
            except OutsideRootError as error:
                file.header = AudioHeader(problem=OUTSIDE)  # not opened
                findings.add(OUTSIDE, f"{split}.tsv, line {number}", str(error))
            end = math.inf if clip.offset is None else clip.offset + clip.num_samples
            file.parts.append((split, clip.offset or 0, end))
            file_of_row[split].append(file)
        _check_labels(data_dir, split, len(manifest), findings)
    unread = [file for file in files.values() if file.header is None]
    for file, header in zip(unread, _headers([file.path for file in unread], workers)):
        file.header = header
    for split, manifest in manifests.items():
        for number, (clip, file) in enumerate(zip(manifest, file_of_row[split]), start=2):
            _check_row(f"{split}.tsv, line {number}", clip, file.header, sample_rate_hz, findings)
    _note_rates(files, sample_rate_hz, findings)
    _check_overlaps(list(files.values()), findings)
    return findings


def _headers(paths: Sequence[Path], workers: int) -> Iterator[AudioHeader]:
    from tqdm import tqdm

    bar = {"total": len(paths), "desc": "reading headers", "unit": "file", "mininterval": 0.5}
    if workers <= 1 or len(paths) < _FILES_PER_TASK:
        yield from tqdm(map(read_header, paths), **bar)
        return
    with ProcessPoolExecutor(workers, initializer=serve_parent) as pool:
        with ctrl_c_blocked():  # the processes start here
            headers = pool.map(read_header, paths, chunksize=_FILES_PER_TASK)
        yield from tqdm(headers, **bar)


def _check_row(where: str, clip: Clip, header: AudioHeader, sample_rate_hz: int, findings: Findings) -> None:
    if header.problem == OUTSIDE:
        return  # told already
    if header.problem:
        kind = "missing file" if header.problem == "no such file" else "unreadable file"
        findings.add(kind, where, f"{clip.name}: {header.problem}" if kind == "unreadable file" else clip.name)
        return
    num_samples = math.ceil(header.num_frames * sample_rate_hz / header.sample_rate_hz)
    if clip.offset is not None:
        if clip.offset + clip.num_samples > num_samples:
            what = f"{clip.name}: ends at {clip.offset + clip.num_samples}, the file at {num_samples}"
            findings.add("part beyond the end of its file", where, what)
    elif abs(num_samples - clip.num_samples) > (header.sample_rate_hz != sample_rate_hz):
        what = f"{clip.name}: {clip.num_samples} in the manifest, {num_samples} in the file"
        if clip.num_samples == header.num_frames:
            what += f", counted at its own {header.sample_rate_hz} Hz"
        findings.add("other length", where, what)


def _note_rates(files: dict[str, _File], sample_rate_hz: int, findings: Findings) -> None:
    counts: dict[int, int] = defaultdict(int)
    for file in files.values():
        if not file.header.problem and file.header.sample_rate_hz != sample_rate_hz:
            counts[file.header.sample_rate_hz] += 1
    for rate_hz, count in sorted(counts.items()):
        findings.notes.append(
            f"{count:,} files at {rate_hz} Hz: speech_pretraining and speech_finetuning resample them, stock tasks die"
        )


def _check_labels(data_dir: Path, split: str, num_rows: int, findings: Findings) -> None:
    dictionaries = {path.name[len("dict.") : -len(".txt")]: path for path in sorted(data_dir.glob("dict.*.txt"))}
    for extension in (*TEXT_EXTENSIONS, *dictionaries):
        path = data_dir / f"{split}.{extension}"
        if not path.exists():
            if extension in dictionaries:
                findings.notes.append(f"{path.name} is not there, though {dictionaries[extension].name} is")
            continue
        try:
            labels = read_labels(path, num_rows)
        except InputError as error:
            findings.add("labels that do not fit", path.name, str(error).split(" ", 1)[1])
            continue
        known = _symbols(dictionaries[extension]) if extension in dictionaries else None
        for number, line in enumerate(labels, start=1):
            if not line.strip():
                findings.add("empty label", f"{path.name}, line {number}")
            elif known is not None:
                for symbol in sorted(set(line.split()) - known):
                    findings.add(f"not in {dictionaries[extension].name}", f"{path.name}, line {number}", symbol)


def _symbols(path: Path) -> set[str]:
    """First columns of one of fairseq's dictionaries."""
    try:
        return {line.rsplit(" ", 1)[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()}
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text") from None


def _check_overlaps(files: list[_File], findings: Findings) -> None:
    """Audio that stands in two splits: by its path, or by the content of its file."""
    for file in files:
        _check_overlap([file], findings)
    # only files as long, and in another split than one of that length, can have the same content
    by_length: dict[tuple[int, int], list[_File]] = defaultdict(list)
    for file in files:
        if not file.header.problem:
            by_length[file.header.num_bytes, file.header.num_frames].append(file)
    for alike in by_length.values():
        if len({part[0] for file in alike for part in file.parts}) < 2:
            continue
        by_content: dict[bytes, list[_File]] = defaultdict(list)
        for file in alike:
            by_content[_content_hash(file.path)].append(file)
        for same in by_content.values():
            if len(same) > 1:
                _check_overlap(same, findings)


def _check_overlap(files: list[_File], findings: Findings) -> None:
    """Record the first part of each split that overlaps one of another split; ``files`` have the same content."""
    parts = sorted((start, end, split, file.path) for file in files for split, start, end in file.parts)
    latest: dict[str, tuple[float, Path]] = {}  # of each split, the part that goes on longest
    for start, end, split, path in parts:
        for other, (other_end, other_path) in latest.items():
            if other != split and start < other_end:
                kind = "in two splits" if path == other_path else "same content in two splits"
                findings.add(
                    kind,
                    f"{other}.tsv and {split}.tsv",
                    f"{other_path} and {path}" if path != other_path else str(path),
                )
        if end > latest.get(split, (-1.0, path))[0]:
            latest[split] = (end, path)


def _content_hash(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    try:
        with open(path, "rb") as file:
            while block := file.read(_HASH_BLOCK_BYTES):
                digest.update(block)
    except OSError:
        return os.fsencode(path)  # vanished since its header was read: like nothing else
    return digest.digest()
