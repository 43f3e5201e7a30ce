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

# If more than this share of the trials contradicts the speakers of their clips, the speakers must be wrong
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

    A trial that is listed several times counts as often.

    Args:
        path: of the list; names: paths of the manifest's rows, relative to its root. Trials hold indices of them.

    Raises:
        InputError: for a list that is missing or empty, a line without three columns, another label, or a clip that is
            in no row of the manifest or in several.
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
                    _refuse(path, number, f"label {_shown(label)} must be 1 (same speaker) or 0: correct the line")
                for clip in clips:
                    if clip not in index_of:
                        complaint = f"{_shown(clip)} is in no row of the manifest: write paths as they are there"
                        _refuse(path, number, f"{complaint}, or remove the trial")
                    if clip in repeated:
                        _refuse(path, number, f"{_shown(clip)} has several rows in the manifest, a trial needs one")
                labels.append(label == b"1")
                first.append(index_of[clips[0]])
                second.append(index_of[clips[1]])
    except OSError as error:
        raise InputError(
            f"trials {path} cannot be read ({error.strerror}): write one `<0 or 1><TAB>path<TAB>path` a line, as "
            "`summarymixing manifest voxceleb` does"
        ) from None
    if not labels:
        raise InputError(f"{path} holds no trial: write one `<0 or 1><TAB>path<TAB>path` a line")
    return Trials(np.frombuffer(labels, np.bool_), np.frombuffer(first, np.int32), np.frombuffer(second, np.int32))


def speakers_of(data_dir: Path, split: str, names: Sequence[str]) -> list[str]:
    """Speakers of all rows of a manifest: lines of DATA_DIR/SPLIT.speaker, or without that file folders in the paths.

    The speaker's folder is the first one of the path in which the rows differ: id10270 of
    wav/id10270/1zcIwhmdeo4/00001.wav, since all rows begin with wav. Clips that all lie in one folder are of one
    speaker. Data that is laid out in another way needs the label file.

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
    """Check that the labels of trials agree with the speakers of their clips.

    One wrong label in a hundred is let through: published lists have some.

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
    """Every pair of clips of a labelled set once, thinned to ``max_trials``, for an EER during training.

    Up to half of ``max_trials`` are target trials: they are rare and decide the precision. The EER does not depend on
    their share. To thin a kind, its trials are cut into stretches of equal length, and one trial of each stretch is
    drawn. The seed is fixed, so the trials are the same every time. No list of all pairs is held in memory.

    Args:
        speakers: of each clip; max_trials: 2 or more.

    Returns:
        target trials, then the others, with first < second.

    Raises:
        InputError: for clips that give no target trial or no other one.
    """
    num_clips = len(speakers)
    _, codes = np.unique(np.asarray(speakers), return_inverse=True)
    by_speaker = np.argsort(codes, kind="stable")
    # in the order of by_speaker, where the clips of each clip's speaker end
    end = np.searchsorted(codes[by_speaker], codes[by_speaker], side="right")
    place = np.arange(num_clips)
    # a clip is paired with the later clips of its own speaker (targets), and with all clips of later speakers (others)
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
        kinds.append(by_speaker[np.stack([one, other])])  # (2, kept)
    pairs = np.sort(np.concatenate(kinds, axis=1), axis=0).astype(np.int32)  # (2, trials)
    return Trials(np.arange(pairs.shape[1]) < keep_targets, *pairs)


def _refuse(path: Path, number: int, complaint: str) -> NoReturn:
    raise InputError(f"{path}, line {number}: {complaint}")


def _shown(text: bytes) -> str:
    return repr(text.decode("utf-8", "replace")[:80])
