"""IEMOCAP, acted emotions: manifests and labels, DEST/fold*/{train,valid,test}.{tsv,emotion}.

IEMOCAP (Busso et al., 2008; English, 12 h) has five sessions. In each a woman and a man act scripts and improvise. Its
authors give it on request, under a release form to sign: https://sail.usc.edu/iemocap/.

    IEMOCAP_full_release
    └── Session1 ... Session5
        ├── dialog/EmoEvaluation/Ses01F_impro01.txt     (its subfolders, votes of single annotators, are not read)
        └── sentences/wav/Ses01F_impro01/Ses01F_impro01_M003.wav

A label is a line `[start - end]<TAB>utterance<TAB>emotion<TAB>[valence, activation, dominance]` of EmoEvaluation. The
classes are the usual four: ang, hap (with exc), neu, sad. Utterances of other emotions, and those on which annotators
did not agree (xxx), are refused: 45 % of the full release. --max-refused counts them. The speaker is the last letter
of the utterance's name (M003), not the first (Ses01F: who wore the motion capture markers).

Folds, for cross-validation; no speaker is in two splits of a fold:

- `--held-out session` (default), fold1 to fold5: test is session k, as in SUPERB. Valid is the next session (1 after
  5), train the other three. SUPERB validates on a random fifth of the training speakers' utterances, so on voices that
  the model knows.
- `--held-out speaker`, fold1 to fold10: test is speaker k (Ses01F, Ses01M, Ses02F, ...), valid the other speaker of
  that session, train the other four sessions, as in MP3S (arXiv 2308.14456). Valid and test then share dialogues.

summarymixing manifest iemocap IEMOCAP_DIR --dest DIR
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..system.errors import InputError
from .audio.scan import read_clips, refuse_unnamed
from .writing.corpus import Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions
from .writing.rows import Refusal

CLASSES = {"ang": "ang", "exc": "hap", "hap": "hap", "neu": "neu", "sad": "sad"}
# Utterances of these classes in the full release, a number that papers report.
NUM_UTTERANCES = 5531
SESSIONS = range(1, 6)
SPEAKERS = [f"Ses{session:02}{gender}" for session in SESSIONS for gender in "FM"]

_LABEL = re.compile(r"\[\s*[\d.]+\s*-\s*[\d.]+\s*\]\s+(\S+)\s+([A-Za-z]+)\s+\[[^\]]*\]\s*")
# A line that should hold a label, even where it is damaged.
_LIKE_LABEL = re.compile(r"\[|.*\bSes\d\d[FM]_")
_UTTERANCE = re.compile(r"(Ses\d\d)[FM]_\w+_([FM])\d+\w*")


def prepare(root: Path, options: ManifestOptions, *, held_out: str = "session") -> Prepared:
    """All folds, with a label `emotion` for each utterance.

    Args:
        root: folder of the sessions. held_out: what a fold tests on, session or speaker.

    Raises:
        InputError: where sessions or labels are not found, or DEST has other folds.
    """
    missing = [f"Session{session}" for session in SESSIONS if not (root / f"Session{session}").is_dir()]
    if missing:
        raise InputError(f"{root} lacks {', '.join(missing)}: give the folder that holds Session1 to Session5")

    folds = {f"fold{number}": of_fold for number, of_fold in _folds(held_out).items()}
    if others := sorted({path.name for path in options.dest.glob("fold*")} - folds.keys()):
        # the probes take the mean over all that are there
        raise InputError(f"{options.dest / others[0]} is of other folds: delete them, or give another --dest")
    check_existing(options, root, split="fold1/train")
    class_of: dict[str, str] = {}
    refusals: list[Refusal] = []
    for session in SESSIONS:
        class_of.update(_read_session(root, session, options, refusals))
    notes = []
    if len(class_of) != NUM_UTTERANCES:
        notes.append(f"{len(class_of):,} utterances of the four classes; the full release has {NUM_UTTERANCES:,}")
    clips = read_clips(root, sorted(class_of), options, refusals)
    splits = {
        f"{fold}/{split}": [
            Utterance(clip, labels={"emotion": class_of[clip.path]})
            for clip in clips
            if _speaker(clip.path) in speakers
        ]
        for fold, of_fold in folds.items()
        for split, speakers in of_fold.items()
    }
    # a fold cannot do without any of its three splits
    return Prepared(root, splits, refusals, len(clips) + len(refusals), notes=notes, needed=tuple(splits))


def _folds(held_out: str) -> dict[int, dict[str, set[str]]]:
    """Speakers of each split, by the number of the fold."""
    sessions = [{f"Ses{session:02}F", f"Ses{session:02}M"} for session in SESSIONS]
    tests, valids = sessions, sessions[1:] + sessions[:1]
    if held_out == "speaker":
        tests = [{speaker} for speaker in SPEAKERS]
        valids = [{SPEAKERS[index ^ 1]} for index in range(len(SPEAKERS))]
    return {
        number: {"train": set(SPEAKERS) - test - valid, "valid": valid, "test": test}
        for number, (test, valid) in enumerate(zip(tests, valids), 1)
    }


def _speaker(path: str) -> str:
    """`Ses01M` for .../Ses01F_impro01_M003.wav."""
    return "".join(_UTTERANCE.findall(Path(path).stem)[0])


def _read_session(root: Path, session: int, options: ManifestOptions, refusals: list[Refusal]) -> dict[str, str]:
    """Class of each utterance of a session by its path; other utterances, lines and audio files are refused."""
    evaluation, audio = f"Session{session}/dialog/EmoEvaluation", f"Session{session}/sentences/wav"
    if not (root / evaluation).is_dir():
        raise InputError(f"{root / evaluation} does not exist: give the full release, with its labels")
    emotions: dict[str, list[str]] = {}
    for name in sorted(os.listdir(root / evaluation)):
        # Copies made on a Mac have a ._<name> beside each file.
        if name.endswith(".txt") and not name.startswith("."):
            for utterance, emotion, where in _read_dialog(root, f"{evaluation}/{name}", session, refusals):
                of_path = emotions.setdefault(f"{audio}/{Path(name).stem}/{utterance}.wav", [])
                if emotion in of_path:
                    refusals.append(Refusal(where, "label given twice", utterance))
                else:
                    of_path.append(emotion)
    class_of: dict[str, str] = {}
    for path, of_path in emotions.items():
        if len(of_path) > 1:
            refusals.append(Refusal(path, "labelled twice, differently", ", ".join(of_path)))
        elif of_path[0] in CLASSES:
            class_of[path] = CLASSES[of_path[0]]
        else:
            refusals.append(Refusal(path, f"emotion {of_path[0]}"))
    refuse_unnamed(root, audio, emotions, "no label", options, refusals)
    return class_of


def _read_dialog(root: Path, label_file: str, session: int, refusals: list[Refusal]) -> Iterator[tuple[str, str, str]]:
    """Utterance, emotion and place of each label in one file of EmoEvaluation, which is named for its dialogue."""
    dialog = Path(label_file).stem
    # Annotators' remarks may hold any bytes; what is read here is ASCII.
    text = (root / label_file).read_text("utf-8-sig", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        # Other lines are the header (%) and the votes of single annotators (C-E2:, A-F1:, ...).
        if line.startswith("%") or not _LIKE_LABEL.match(line):
            continue
        where = f"{label_file}:{number}"
        label = _LABEL.fullmatch(line)
        if not label:
            refusals.append(Refusal(where, "line is no label", line))
            continue
        utterance, emotion = label[1], label[2].lower()
        name = _UTTERANCE.fullmatch(utterance)
        if name and name[1] == f"Ses{session:02}" and utterance.startswith(f"{dialog}_"):
            yield utterance, emotion, where
        else:
            refusals.append(Refusal(where, "label for another dialogue or session", utterance))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="IEMOCAP_DIR", type=Path, help="folder with Session1 to Session5")
    parser.add_argument(
        "--held-out",
        choices=("session", "speaker"),
        help="5 folds: test on a session, validate on the next (default); or 10 folds: test on a speaker, validate on "
        "the other of that session",
    )
