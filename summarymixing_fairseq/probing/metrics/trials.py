"""Verification trials: read from a list, or made of all pairs of a labelled set; and the speakers of clips."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from ...data.manifest import read_labels
from ...system.errors import InputError

# Share of trials whose label contradicts the speakers of its clips: beyond it the speakers must be read wrongly
_MAX_CONTRADICTIONS = 0.01


@dataclass(frozen=True, eq=False)
class Trials:
    """Pairs of clips, each by its index in a list of names.

    Attributes:
        labels: (trials,) bool, True: same speaker (target); first, second: (trials,) int32.
    """

    labels: np.ndarray
    first: np.ndarray
    second: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


def read_trials(path: Path, names: Iterable[str]) -> Trials:
    """Read a list of trials, as corpora/voxceleb.py writes it: ``<0 or 1><TAB>path<TAB>path``, 1 = same speaker.

    A trial may be there several times, and then counts as often.

    Args:
        path: of the list; names: paths of the manifest's rows, relative to its root, which trials are indices into.

    Raises:
        InputError: for a list that is missing or empty, a line that is not of three columns, another label, and a clip
            that is in no row or in several.
    """
    index_of: dict[bytes, int] = {}
    repeated: set[bytes] = set()
    for index, name in enumerate(names):
        if index_of.setdefault(os.fsencode(name), index) != index:
            repeated.add(os.fsencode(name))
    labels, first, second = array("b"), array("i"), array("i")
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                line = line.rstrip(b"\r\n")
                if number == 1:
                    line = line[3:] if line.startswith(b"\xef\xbb\xbf") else line
                if not line.strip():
                    continue
                columns = line.split(b"\t")
                if len(columns) != 3:
                    _refuse(path, number, f"{_shown(line)} is not `<0 or 1><TAB>path<TAB>path`: write the list so")
                label, *clips = columns
                if label not in (b"0", b"1"):
                    _refuse(path, number, f"label {_shown(label)} must be 1 (same speaker) or 0: mend the line")
                for clip in clips:
                    if clip not in index_of:
                        _refuse(
                            path,
                            number,
                            f"{_shown(clip)} is in no row of the manifest: paths must be as they are there, relative "
                            "to its root; make list and manifest again, or take the trial out",
                        )
                    if clip in repeated:
                        _refuse(
                            path,
                            number,
                            f"{_shown(clip)} has several rows in the manifest: a trial needs clips of one row each",
                        )
                labels.append(label == b"1")
                first.append(index_of[clips[0]])
                second.append(index_of[clips[1]])
    except OSError as error:
        raise InputError(
            f"trials {path} cannot be read ({error.strerror}): write one `<0 or 1><TAB>path<TAB>path` a line, as "
            "corpora/voxceleb.py does"
        ) from None
    if not labels:
        raise InputError(f"{path} holds no trial: write one `<0 or 1><TAB>path<TAB>path` a line")
    return Trials(np.frombuffer(labels, np.bool_), np.frombuffer(first, np.int32), np.frombuffer(second, np.int32))


def speakers_of(data_dir: Path, split: str, names: Sequence[str]) -> list[str]:
    """Speakers of all rows of a manifest: lines of DATA_DIR/SPLIT.speaker, or else folders in the clips' paths.

    The folder is the first of the path at which the rows differ: id10270 of wav/id10270/1zcIwhmdeo4/00001.wav, since
    all lie below wav. Clips that all lie in one folder are of one speaker. A set of one speaker in several folders, or
    with other folders first, needs the label file.

    Args:
        names: paths of the rows, relative to the manifest's root.

    Raises:
        InputError: for a label file with another number of lines or an empty one, or, without a label file, for a clip
            that lies in no such folder.
    """
    path = Path(data_dir) / f"{split}.speaker"
    if path.exists():
        speakers = read_labels(path, len(names))
        for number, speaker in enumerate(speakers, start=1):
            if not speaker.strip():
                raise InputError(f"{path}, line {number} is empty: write the speaker of each clip, one a line")
        return speakers
    folders = [tuple(name.split("/")[:-1]) for name in names]
    depth = 0
    while len(set(folders)) > 1 and len({parts[: depth + 1] for parts in folders}) == 1:
        depth += 1
    if names and len(set(folders)) == 1:
        depth = len(folders[0]) - 1
    for name, parts in zip(names, folders):
        if not 0 <= depth < len(parts):
            raise InputError(f"{name} lies in no speaker's folder: write the speakers, one a line, to {path}")
    return [parts[depth] for parts in folders]


def check_speakers(trials: Trials, speakers: Sequence[str], names: Sequence[str]) -> None:
    """Hold the labels of trials against the speakers of their clips, as an interval by speaker needs them.

    A stray wrong label passes, one in a hundred: lists have them.

    Raises:
        InputError: naming a trial that contradicts its speakers.
    """
    _, codes = np.unique(np.asarray(speakers), return_inverse=True)
    wrong = (codes[trials.first] == codes[trials.second]) != trials.labels
    if wrong.sum() > _MAX_CONTRADICTIONS * len(trials):
        trial = int(wrong.argmax())
        first, second = int(trials.first[trial]), int(trials.second[trial])
        raise InputError(
            f"{int(wrong.sum())} of {len(trials)} trials contradict the clips' speakers, e.g. trial {trial + 1} "
            f"labelled {int(trials.labels[trial])} with {names[first]} of {speakers[first]} and {names[second]} of "
            f"{speakers[second]}: write the true speakers beside the manifest (SPLIT.speaker, one a line)"
        )


def all_pairs(speakers: Sequence[str], max_trials: int = 100_000) -> Trials:
    """Every pair of two clips of a labelled set once, thinned to ``max_trials``, for an EER during training.

    Thinning keeps up to half of ``max_trials`` for target trials, which are rare and decide the precision; an EER does
    not depend on the share of targets, minDCF not either. Each kind is cut into as many equal stretches as it may have
    trials, one trial drawn of each by a fixed seed: the same every time, whatever else is random. Memory is that of
    the trials kept and the clips.

    Args:
        speakers: of each clip; max_trials: 2 or more.

    Returns:
        target trials, then the others, with first < second.

    Raises:
        InputError: for clips that give no target trial or no other one.
        ValueError: for ``max_trials`` below 2.
    """
    if max_trials < 2:
        raise ValueError(f"max_trials={max_trials} must be 2 or more: a trial of each kind")
    num_clips = len(speakers)
    _, codes = np.unique(np.asarray(speakers), return_inverse=True)
    by_speaker = np.argsort(codes, kind="stable")
    # Where the clips of each clip's speaker end, in the order of by_speaker
    end = np.searchsorted(codes[by_speaker], codes[by_speaker], side="right")
    place = np.arange(num_clips)
    # The clip at each place is paired with the later ones of its speaker, and with all of later speakers
    num_targets, num_others = int((end - place - 1).sum()), int((num_clips - end).sum())
    if not num_others:
        raise InputError(f"{num_clips} clips of one speaker: verification trials need two speakers or more")
    if not num_targets:
        raise InputError("no speaker has two clips: verification trials need two of the same speaker")
    keep_targets = min(num_targets, max(max_trials // 2, max_trials - num_others))
    keep_others = min(num_others, max_trials - keep_targets)
    rng = np.random.default_rng(0)
    kinds = []
    for partners, first_partner, total, kept in (
        (end - place - 1, place + 1, num_targets, keep_targets),
        (num_clips - end, end, num_others, keep_others),
    ):
        stretches = np.arange(kept + 1) * total // kept
        ranks = rng.integers(stretches[:-1], stretches[1:])
        ends = np.cumsum(partners)
        one = np.searchsorted(ends, ranks, side="right")
        other = first_partner[one] + ranks - (ends - partners)[one]
        kinds.append((by_speaker[one], by_speaker[other]))
    one, other = (np.concatenate(sides).astype(np.int32) for sides in zip(*kinds))
    labels = np.arange(len(one)) < keep_targets
    return Trials(labels, np.minimum(one, other), np.maximum(one, other))


def _refuse(path: Path, number: int, complaint: str) -> NoReturn:
    raise InputError(f"{path}, line {number}: {complaint}")


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "replace")[:80])
