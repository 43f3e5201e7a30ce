"""VoxCeleb1, interviews: manifests, speaker labels and trials, DEST/{train,valid,test}.tsv and DEST/test*.trials.

VoxCeleb1 (Nagrani et al., 2017; 352 h, 1,251 speakers): https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html. Its
authors give speaker and video ids and lists under CC BY 4.0; the copyright in the videos stays with their owners.

    VOXCELEB1_DIR
    ├── veri_test.txt                           37,720 trials, `<1: same speaker, or 0> <enrolment clip> <test clip>`
    ├── veri_test2.txt                          the same with wrong labels corrected or left out
    └── wav/id10001/1zcIwhmdeo4/00001.wav       speaker, video, clip

The archives of dev (1,211 speakers, 148,642 clips) and test (40 speakers, id10270 to id10309, 4,874 clips) may have
folders of their own (vox1_dev_wav/wav, vox1_test_wav/wav): only the last three parts of a path identify a clip.

Train and valid are for classifying speakers. Valid holds other videos of the speakers of train, chosen by the hash of
speaker and video, but never all of a speaker's. Test holds each clip that a trial names. test.trials (of veri_test.txt)
and test_cleaned.trials (of veri_test2.txt) hold the trials as `<0 or 1><TAB>path<TAB>path`, with paths as in test.tsv.
Allowed lengths are for train and valid alone.

summarymixing manifest voxceleb VOXCELEB1_DIR --dest DIR
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..system.errors import InputError
from ..system.files import read_text
from .audio.scan import find_audio, read_clips
from .writing.corpus import Prepared, check_existing
from .writing.labels import Utterance
from .writing.options import ManifestOptions
from .writing.rows import Clip, Refusal
from .writing.splits import check_valid_fraction, stable_fraction

# The lists of trials, and what they become.
TRIALS = {"veri_test.txt": "test.trials", "veri_test2.txt": "test_cleaned.trials"}
TEST_SPEAKERS = frozenset(f"id{number}" for number in range(10270, 10310))
NUM_TRAIN_SPEAKERS = 1211

# Speaker, video and name of a clip, without the ending: how trials name it, wherever it lies.
_KEY = re.compile(r"(?:.*/)?(id1\d{4}/[^/]+/[^/]+)\.[^./]+")

Trial = tuple[str, str, str]


def prepare(
    root: Path, options: ManifestOptions, *, trials_dir: Path | None = None, valid_fraction: float = 0.02
) -> Prepared:
    """Train and valid with the label `speaker` for each clip, and test with its trials.

    The lengths that the options allow are for train and valid: an equal error rate is one of all trials.

    Args:
        root: folder of the clips, at any depth. trials_dir: folder of veri_test.txt, veri_test2.txt or both (None:
            `root`). valid_fraction: share of the videos in valid.

    Raises:
        InputError: where no list is found, one is damaged, or one has no usable trial.
    """
    check_valid_fraction(valid_fraction)
    trials = _read_lists(trials_dir or root)
    named = {key for these in trials.values() for _, *keys in these for key in keys}
    check_existing(options, root)
    refusals: list[Refusal] = []
    path_of: dict[str, str] = {}
    train_paths, test_paths = [], []
    for path in find_audio(root, options, refusals):
        key = _key_of(path)
        if key is None:
            refusals.append(Refusal(path, "not in VoxCeleb1's folders (id1<4 digits>/<video>/<clip>)"))
        elif path_of.setdefault(key, path) != path:
            refusals.append(Refusal(path, "clip is there twice", path_of[key]))
        elif key.split("/")[0] not in TEST_SPEAKERS:
            train_paths.append(path)
        elif key in named:
            test_paths.append(path)
        else:
            refusals.append(Refusal(path, "test speaker's clip in no trial"))
    refusals += [Refusal(f"{key}.wav", "no such file (a trial names it)") for key in sorted(named - path_of.keys())]

    test = read_clips(root, test_paths, options, refusals, any_length=True)
    usable = {key: path_of[key] for key in map(_key_of, (clip.path for clip in test)) if key}
    files, notes = _written_trials(trials, usable, root)
    clips = read_clips(root, train_paths, options, refusals)
    train, valid = _split(clips, valid_fraction)
    splits = {
        name: [Utterance(clip, labels={"speaker": _speaker(clip)}) for clip in these]
        for name, these in (("train", train), ("valid", valid))
    }
    splits["test"] = [Utterance(clip) for clip in test]
    notes += _notes_on_speakers(splits, valid_fraction)
    num_found = len(clips) + len(test) + len(refusals)
    return Prepared(root, splits, refusals, num_found, notes=notes, files=files)


def _read_lists(folder: Path) -> dict[str, list[Trial]]:
    """Trials of each list of `folder`."""
    trials = {name: _read_trials(folder / name) for name in TRIALS if (folder / name).is_file()}
    if not trials:
        raise InputError(
            f"{folder} holds neither {' nor '.join(TRIALS)}: put them there (they are at "
            "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/), or name their folder by --trials"
        )
    return trials


def _read_trials(path: Path) -> list[Trial]:
    """`<0 or 1>` and the keys of both clips, for each line."""
    trials = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        same, *clips = line.split()
        keys = [key for key in map(_key_of, clips) if key]
        if same not in ("0", "1") or len(clips) != 2 or len(keys) != 2:
            raise InputError(
                f"{path}, line {number}: `<0 or 1> <speaker>/<video>/<clip>.wav <speaker>/<video>/<clip>.wav` is "
                "needed: download it again"
            )
        for speaker in {key.split("/")[0] for key in keys} - TEST_SPEAKERS:
            raise InputError(
                f"{path}, line {number}: {speaker} is trained on: give VoxCeleb1's own list, of the speakers "
                "id10270 to id10309"
            )
        trials.append((same, keys[0], keys[1]))
    if not trials:
        raise InputError(f"{path} holds no trial: download it again")
    return trials


def _key_of(path: str) -> str | None:
    """`speaker/video/clip` of a path; None where it is no clip of VoxCeleb1."""
    match = _KEY.fullmatch(path)
    return match and match[1]


def _speaker(clip: Clip) -> str:
    return clip.path.split("/")[-3]


def _written_trials(
    trials: Mapping[str, Sequence[Trial]], usable: Mapping[str, str], root: Path
) -> tuple[dict[str, str], list[str]]:
    """Files of trials by name, and a note for each on its number and on those left out."""
    files, notes = {}, []
    for name, these in trials.items():
        kept = [(same, usable[one], usable[other]) for same, one, other in these if one in usable and other in usable]
        if not kept:
            raise InputError(
                f"no trial of {name} has both its clips, usable, below {root}: unpack vox1_test_wav.zip there"
            )
        files[TRIALS[name]] = "".join("\t".join(trial) + "\n" for trial in kept)
        note = f"{TRIALS[name]}: {len(kept):,} trials"
        if len(kept) < len(these):
            example = next(key for _, *keys in these for key in keys if key not in usable)
            note += f"; {len(these) - len(kept):,} left out: a clip is missing or refused, e.g. {example}"
        notes.append(note)
    return files, notes


def _split(clips: Sequence[Clip], valid_fraction: float) -> tuple[list[Clip], list[Clip]]:
    """Train and valid clips by the hash of speaker and video; a speaker's video with the highest hash is for train."""
    fraction_of = {_video(clip): stable_fraction(_video(clip)) for clip in clips}
    highest: dict[str, tuple[float, str]] = {}
    for video, fraction in fraction_of.items():
        speaker = video.split("/")[0]
        highest[speaker] = max(highest.get(speaker, (-1.0, "")), (fraction, video))
    kept = {video for _, video in highest.values()}
    held_out = {video for video, fraction in fraction_of.items() if fraction < valid_fraction} - kept
    train = [clip for clip in clips if _video(clip) not in held_out]
    return train, [clip for clip in clips if _video(clip) in held_out]


def _video(clip: Clip) -> str:
    return "/".join(clip.path.split("/")[-3:-1])


def _notes_on_speakers(splits: Mapping[str, Sequence[Utterance]], valid_fraction: float) -> list[str]:
    count = {name: len({_speaker(one.clip) for one in these}) for name, these in splits.items()}
    notes = [f"speakers: {count['train']:,} in train, {count['valid']:,} of them in valid, {count['test']:,} in test"]
    if not count["train"]:
        notes.append("no clip of a train speaker: unpack vox1_dev_wav.zip too, to train")
    elif count["train"] < NUM_TRAIN_SPEAKERS or count["test"] < len(TEST_SPEAKERS):
        notes.append(f"VoxCeleb1 has {NUM_TRAIN_SPEAKERS:,} train and {len(TEST_SPEAKERS)} test speakers")
    if valid_fraction and count["train"] and not count["valid"]:
        notes.append(f"valid is not written: no video was drawn for it at --valid-fraction {valid_fraction:g}")
    return notes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="VOXCELEB1_DIR", type=Path, help="folder that holds wav, of any depth")
    parser.add_argument(
        "--trials",
        dest="trials_dir",
        type=Path,
        metavar="DIR",
        help=f"folder of {', '.join(TRIALS)} (default: VOXCELEB1_DIR)",
    )
    parser.add_argument("--valid-fraction", type=float, help="share of videos in valid.tsv, by hash (0.02)")
