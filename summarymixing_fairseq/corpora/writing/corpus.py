"""All files of a corpus: a manifest for each split and, beside it, transcripts, letters, class labels and dictionaries.

DEST/SPLIT.tsv; with texts also SPLIT.wrd, SPLIT.ltr and dict.ltr.txt; with labels of a KIND SPLIT.KIND and
dict.KIND.txt. The name of a split may have a folder (finetune/train): each folder has its own dictionaries.
"""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...system.errors import InputError, printable
from ...system.files import write_together
from ...system.units import SAMPLE_RATE_HZ
from ..audio.scan import forget_journals
from .labels import LETTERS, Units, Utterance, format_dictionary, label_lines, unseen_notes
from .options import ManifestOptions
from .rows import Refusal, format_manifest, format_refusals

# The split, in each folder, that dictionaries are made of.
TRAIN = "train"


@dataclass(frozen=True)
class Prepared:
    """A corpus ready to be written.

    Attributes:
        root: folder that the paths of clips are relative to.
        splits: utterances of each split, in the order of their rows.
        refusals: what was left out.
        num_found: clips that the corpus names or holds, whether kept or refused.
        notes: further lines of the summary.
        files: more files to write, by their names below DEST.
        units: how texts are written beside .wrd.
        needed: splits that must not be empty.
    """

    root: Path
    splits: Mapping[str, Sequence[Utterance]]
    refusals: Sequence[Refusal]
    num_found: int
    notes: Sequence[str] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    units: Units = field(default_factory=lambda: LETTERS)
    needed: Sequence[str] = ()


def check_existing(options: ManifestOptions, root: Path, *, parts: bool = False, split: str = TRAIN) -> None:
    """Look at the manifest that is in `options.dest`, before any audio is read, for what makes it another one.

    Args:
        root: of the manifest that is to be written; parts: all its rows are parts of files; split: the one to look at.

    Raises:
        InputError: for one of another root, or of whole files where there would be parts, unless forced.
    """
    path = options.dest / f"{split}.tsv"
    if options.force or not path.is_file():
        return
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        other, row = file.readline().rstrip("\n"), file.readline()
    if other != os.path.abspath(root):
        raise InputError(f"{path} is of {other}: give --force to replace it, or another --dest")
    if parts and row.count("\t") == 1:
        raise InputError(f"{path} is of whole files: give --force to replace it by segments, or another --dest")


def write_corpus(corpus: Prepared, options: ManifestOptions) -> str:
    """Write all files of a corpus, all or none, and return the summary to print. An empty split is not written.

    Raises:
        InputError: where nothing usable is left, a split that is needed is empty, more is refused than allowed, or
            files exist with other content. But for the last, DEST/refused.tsv is written.
    """
    dest = options.dest
    splits = {name: utterances for name, utterances in corpus.splits.items() if utterances}
    reports = {dest / "refused.tsv": format_refusals(corpus.refusals)}
    if problem := _problem(corpus, options.max_refused):
        write_files({}, force=options.force, reports=reports)
        raise InputError(f"{problem}; {dest / 'refused.tsv'} lists all")
    files: dict[Path, str | bytes] = {dest / name: content for name, content in corpus.files.items()}
    notes = [*corpus.notes]
    for folder in sorted(set(map(_folder, splits))):
        here = {name: utterances for name, utterances in splits.items() if _folder(name) == folder}
        for name, utterances in here.items():
            files[dest / f"{name}.tsv"] = format_manifest(corpus.root, (one.clip for one in utterances))
        for extension, lines in label_lines(here, corpus.units).items():
            for name, these in lines.items():
                files[dest / f"{name}.{extension}"] = "".join(f"{line}\n" for line in these)
            train = lines.get(folder + TRAIN)
            if train is not None and extension != "wrd":
                files[dest / f"{folder}dict.{extension}.txt"] = format_dictionary(train)
                notes += unseen_notes(lines, train, extension)
    of_split = ("{name}.*", "{name}*.trials", "{folder}dict.*.txt")
    patterns = {one.format(name=name, folder=_folder(name)) for name in corpus.splits for one in of_split}
    stale = {path for pattern in patterns for path in dest.glob(pattern)} - files.keys()
    notes += [f"{path} is from an earlier run: delete it if it is not wanted" for path in sorted(stale)]
    write_files(files, force=options.force, reports=reports)
    forget_journals(dest)
    return "\n".join(map(printable, [*_summary(corpus, splits), *notes]))


def _folder(split: str) -> str:
    """`finetune/train` -> `finetune/`, `train` -> nothing."""
    return "".join(split.rpartition("/")[:2])


def _problem(corpus: Prepared, max_refused: float | None) -> str | None:
    """Why a corpus is not written, or None."""
    first = corpus.refusals[0] if corpus.refusals else None
    example = f"the first, {first.path}: {first.reason}" if first else "none was found"
    num_refused = len(corpus.refusals)
    if not any(corpus.splits.values()):
        return f"none of {corpus.num_found:,} clips of {corpus.root} is usable; {example}"
    for name in corpus.needed:
        if not corpus.splits[name]:
            return f"{name} has no usable clip below {corpus.root}; {example}"
    if max_refused is not None and num_refused > max_refused * corpus.num_found:
        return (
            f"{num_refused:,} of {corpus.num_found:,} clips refused, more than --max-refused {max_refused:g}; {example}"
        )
    return None


def write_files(files: Mapping[Path, str | bytes], *, force: bool, reports: Mapping[Path, str] | None = None) -> None:
    """Write all of `files` and `reports` (UTF-8, `\\n`); each has its final name only once all are complete.

    Files that have this content already are left alone. `reports` are not manifests: they are always brought up to
    date, and removed where their text is empty.

    Raises:
        InputError: for an existing file with other content, unless `force`; nothing is written then.
    """
    reports = reports or {}
    new = {path: content for path, content in files.items() if not _holds(path, content)}
    changed = sorted(path for path in new if path.exists())
    if changed and not force:
        raise InputError(f"{changed[0]} exists with other content: give --force to replace it, or another --dest")
    new.update({path: text for path, text in reports.items() if text and not _holds(path, text)})
    write_together(new, absent=[path for path, text in reports.items() if not text])


def _holds(path: Path, content: str | bytes) -> bool:
    encoded = content if isinstance(content, bytes) else content.encode("utf-8")
    return path.is_file() and path.read_bytes() == encoded


def _summary(corpus: Prepared, splits: Mapping[str, Sequence[Utterance]]) -> list[str]:
    """Lines to print at the end: clips found and kept, hours and lengths of each split, and what was refused."""
    lines = [f"found {corpus.num_found:,} clips"]
    for name, utterances in splits.items():
        seconds = [one.clip.num_samples / SAMPLE_RATE_HZ for one in utterances]
        lines.append(
            f"{name}: {len(seconds):,} clips, {sum(seconds) / 3600:.2f} h "
            f"(seconds: min {min(seconds):.2f}, median {statistics.median(seconds):.2f}, max {max(seconds):.2f})"
        )
    clips = (one.clip for utterances in splits.values() for one in utterances)
    resampled = Counter({clip.path: clip.file_rate_hz for clip in clips if clip.file_rate_hz}.values())
    for rate_hz, count in sorted(resampled.items()):
        lines.append(
            f"{count:,} files at {rate_hz} Hz: speech_pretraining and speech_finetuning resample, fairseq's tasks stop"
        )
    by_reason: dict[str, list[Refusal]] = {}
    for refusal in corpus.refusals:
        by_reason.setdefault(refusal.reason, []).append(refusal)
    for reason, refused in sorted(by_reason.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"refused {len(refused):,}: {reason}, e.g. {refused[0].path}")
    return lines
