"""SLURP, commands to a home assistant: manifests and labels, DEST/{train,valid,test}.{tsv,scenario,action,intent}.

SLURP (Bastianelli et al., EMNLP 2020; English): each sentence was read by one or more people into a headset, a distant
microphone or both. Annotations: https://github.com/pswietojanski/slurp, CC BY 4.0;
audio, also for `scripts/download_audio.sh` of that repository: https://zenodo.org/record/4274930, CC BY-NC 4.0.

    SLURP_DIR
    ├── dataset/slurp/{train,devel,test,train_synthetic}.jsonl   (or right below SLURP_DIR)
    ├── dataset/slurp/metadata.json                              who spoke (optional, for a note only)
    ├── audio/slurp_real/audio-1434542201-headset.flac           (or SLURP_DIR/slurp_real)
    └── audio/slurp_synth/audio-....flac                         (or SLURP_DIR/slurp_synth; --synthetic)

A line of .jsonl is one sentence: `slurp_id`, `sentence`, `scenario` (18 classes), `action` (46), `intent`, and
`recordings`, a list of objects with `file`. Each recording is a row. The label `intent` is scenario_action, as in
SLURP's own evaluation: the field `intent` lacks the scenario in some 200 entries.

Splits are the official ones, which share speakers. A recording that several splits name stays in one: in test, else in
valid. One that a split names twice is written once, or refused where the labels (with --text, also the sentences)
differ. Transcripts are written only with --text, which leaves out recordings whose sentence has no certain spelling
(text/english_text.py); for classification they are of use.

summarymixing manifest slurp SLURP_DIR --dest DIR
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system.errors import InputError
from .audio.scan import read_clips, refuse_unnamed
from .tables.json_lines import json_objects
from .text.english_text import TextRefused, normalise
from .writing.corpus import Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions
from .writing.rows import Refusal, path_problem

# A recording that several splits name belongs to the first of them.
SPLITS = {"test": "test.jsonl", "valid": "devel.jsonl", "train": "train.jsonl"}
SYNTHETIC = "train_synthetic.jsonl"
NUM_CLASSES = {"scenario": 18, "action": 46}


@dataclass(frozen=True)
class _Listing:
    """One recording as an entry of a .jsonl names it; `where` is the line, `problem` why the entry cannot be used."""

    split: str
    path: str
    entry: Mapping[str, Any]
    where: str
    problem: str | None = None

    @property
    def labels(self) -> dict[str, str]:
        scenario, action = self.entry["scenario"], self.entry["action"]
        return {"scenario": scenario, "action": action, "intent": f"{scenario}_{action}"}


def prepare(root: Path, options: ManifestOptions, *, synthetic: bool = False, text: bool = False) -> Prepared:
    """The official splits, with labels `scenario`, `action` and `intent` for each recording.

    Args:
        root: folder of the repository, with the audio. synthetic: add train_synthetic.jsonl to train.
        text: add transcripts, and leave out recordings whose sentence cannot be spelled out with certainty.

    Raises:
        InputError: where annotations or audio are not found.
    """
    folder = _first_existing(root, (f"dataset/slurp/{SPLITS['train']}", SPLITS["train"])).removesuffix(SPLITS["train"])
    user_of = _read_users(root / folder / "metadata.json")
    parts = [(SPLITS, "slurp_real")]
    if synthetic:
        parts.append(({"train": SYNTHETIC}, "slurp_synth"))
    check_existing(options, root)
    refusals: list[Refusal] = []
    listings: list[_Listing] = []
    for files, name in parts:
        audio = _first_existing(root, (f"audio/{name}", name))
        here = list(_read_listings(root, {split: folder + file for split, file in files.items()}, audio, refusals))
        refuse_unnamed(root, audio, {one.path for one in here}, "in no .jsonl", options, refusals)
        listings += here
    refusals += [Refusal(one.where, one.problem, one.path) for one in listings if one.problem]
    listings = [one for one in listings if not one.problem]
    by_path = _without_repetition(listings, text, refusals)
    texts = _normalised(by_path.values(), refusals) if text else {}
    clips = read_clips(root, sorted(texts if text else by_path), options, refusals)
    splits: dict[str, list[Utterance]] = {name: [] for name in ("train", "valid", "test")}
    for clip in clips:
        listing = by_path[clip.path]
        splits[listing.split].append(Utterance(clip, texts.get(clip.path), listing.labels))
    others = {one.where for one in listings if one.entry.get("intent", one.labels["intent"]) != one.labels["intent"]}
    notes = [f"{len(others):,} entries have another intent than the scenario_action written"] if others else []
    notes += _class_notes(splits["train"]) + _speaker_notes(user_of, splits)
    return Prepared(root, splits, refusals, len(clips) + len(refusals), notes=notes)


def _first_existing(root: Path, candidates: Sequence[str]) -> str:
    for name in candidates:
        if (root / name).exists():
            return name
    raise InputError(
        f"{root} has neither {' nor '.join(candidates)}: give the folder of the SLURP repository, its audio unpacked"
    )


def _read_listings(root: Path, files: Mapping[str, str], audio: str, refusals: list[Refusal]) -> Iterator[_Listing]:
    """Recordings that the entries of `files` (path of a .jsonl by split) name below the folder `audio`."""
    # read apart from synthetic speech, which may have the ids of the sentences it was made from
    seen_ids: set[str] = set()
    for split, name in files.items():
        for where, entry in json_objects(root / name, refusals):
            names = _recordings(entry)
            if not names:
                refusals.append(Refusal(where, "entry without a list of recordings"))
                continue
            paths = []
            for name in names:
                if _is_file_name(name):
                    paths.append(f"{audio}/{name}")
                else:
                    refusals.append(Refusal(where, "recording whose name cannot be used", repr(name)))
            problem = None
            slurp_id = repr(entry.get("slurp_id"))
            missing = [field for field in NUM_CLASSES if not _is_word(entry.get(field))]
            if missing:
                problem = f"entry without {' and '.join(missing)}"
            elif slurp_id in seen_ids:
                problem = "slurp_id given twice"
            elif slurp_id != "None":
                seen_ids.add(slurp_id)
            for path in paths:
                yield _Listing(split, path, entry, where, problem)


def _recordings(entry: Mapping[str, Any]) -> list[Any]:
    """What an entry has as its recordings' names."""
    recordings = entry.get("recordings")
    if not isinstance(recordings, list):
        return []
    return [recording.get("file") if isinstance(recording, dict) else None for recording in recordings]


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and "/" not in name and not path_problem(name)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and value.split() == [value]


def _without_repetition(listings: Sequence[_Listing], with_text: bool, refusals: list[Refusal]) -> dict[str, _Listing]:
    """One listing for each recording that has one label of each kind."""
    by_path: dict[str, list[_Listing]] = {}
    for listing in listings:  # test first, then valid
        by_path.setdefault(listing.path, []).append(listing)
    unique: dict[str, _Listing] = {}
    for path, (first, *others) in by_path.items():
        here = [listing for listing in others if listing.split == first.split]
        refusals += [
            Refusal(other.where, f"recording of {first.split} named in {other.split} too", path)
            for other in others
            if other.split != first.split
        ]
        places = ", ".join(listing.where for listing in (first, *here))
        if any(listing.labels != first.labels for listing in here):
            refusals.append(Refusal(path, "named twice, with different labels", places))
        elif with_text and any(listing.entry.get("sentence") != first.entry.get("sentence") for listing in here):
            refusals.append(Refusal(path, "named twice, with different sentences", places))
        else:
            refusals += [Refusal(other.where, "recording named twice", path) for other in here]
            unique[path] = first
    return unique


def _normalised(listings: Iterable[_Listing], refusals: list[Refusal]) -> dict[str, str]:
    """Words of each recording in capital letters, by its path, where they are certain."""
    texts: dict[str, str] = {}
    for listing in listings:
        sentence = listing.entry.get("sentence")
        if not isinstance(sentence, str):
            refusals.append(Refusal(listing.path, "entry without sentence", listing.where))
            continue
        try:
            texts[listing.path] = normalise(sentence)
        except TextRefused as refused:
            refusals.append(Refusal(listing.path, f"text: {refused}", sentence))
    return texts


def _class_notes(train: Sequence[Utterance]) -> list[str]:
    seen = {kind: len({one.labels[kind] for one in train}) for kind in NUM_CLASSES}
    return [
        f"train: {seen[kind]} classes of {kind}, the full corpus has {expected}"
        for kind, expected in NUM_CLASSES.items()
        if seen[kind] != expected
    ]


def _read_users(path: Path) -> dict[str, str] | None:
    """Speaker of each recording by its file name, or None where there is no metadata.json."""
    if not path.exists():
        return None
    try:
        return {
            name: str(recording["usrid"])
            for entry in json.loads(path.read_bytes()).values()
            for name, recording in entry["recordings"].items()
            if "usrid" in recording
        }
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): download it again, or remove it") from None


def _speaker_notes(user_of: Mapping[str, str] | None, splits: Mapping[str, Sequence[Utterance]]) -> list[str]:
    """How many speakers are in train and in another split as well: the official splits share speakers."""
    if user_of is None:
        return ["no metadata.json: speakers shared between splits are not counted"]
    users = {
        split: {user_of.get(one.clip.path.rpartition("/")[2]) for one in utterances} - {None}
        for split, utterances in splits.items()
    }
    return [
        f"{split}: {len(here & users['train'])} of {len(here)} speakers are in train too (official splits)"
        for split, here in users.items()
        if split != "train"
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="SLURP_DIR", type=Path, help="folder with dataset/slurp and audio")
    parser.add_argument("--synthetic", action="store_true", help=f"add {SYNTHETIC} to train")
    parser.add_argument("--text", action="store_true", help="write transcripts too; refuse those of uncertain spelling")
