"""Splits and files of a corpus of prompts: pre-training in all languages, fine-tuning in English.

DEST/pretrain/{train,valid}.tsv        DEST/finetune/{train,valid,test}.{tsv,ltr,wrd}, dict.ltr.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.corpora.writing import corpus as corpus_files
from summarymixing_fairseq.corpora.writing.corpus import Prepared, Utterance
from summarymixing_fairseq.corpora.writing.splits import split_clips, stable_fraction
from summarymixing_fairseq.corpora.writing.writer import Clip, Refusal
from summarymixing_fairseq.system.errors import InputError

SAMPLE_RATE_HZ = 16000
PRETRAIN_VALID_FRACTION = 0.02
# Shorter prompts (one letter, one digit) say little about a recogniser: they are held out last.
_USEFUL_SECONDS = 1.0


@dataclass(frozen=True)
class Recording:
    """One clip of the corpus; `text` is its normalised English text, None where nothing is to be learned."""

    clip: Clip
    language: str
    text: str | None = None


@dataclass(frozen=True)
class Splits:
    """English recordings for fine-tuning, and clips of all languages for pre-training."""

    train: list[Recording]
    valid: list[Recording]
    test: list[Recording]
    pretrain: list[Clip]
    left_out: list[Refusal]


def split_recordings(recordings: Sequence[Recording], num_test: int, num_valid: int, min_seconds: float) -> Splits:
    """Hold out `num_test` and then `num_valid` English texts, in the order of the texts' hashes.

    Each held-out text stands once in its split, and all its other recordings are left out of everything,
    pre-training included: nothing that is tested or validated on was heard before.
    `min_seconds` is the shortest clip for pre-training.
    """
    by_text: dict[str, list[Recording]] = {}
    for recording in recordings:
        if recording.text is not None:
            by_text.setdefault(recording.text, []).append(recording)
    if len(by_text) <= num_test + num_valid:
        raise InputError(
            f"{len(by_text)} different English texts are too few for --held-out {num_test} and "
            f"--valid {num_valid}: lower them, so that some are left to train on"
        )
    chosen = {text: min(same, key=_preference) for text, same in by_text.items()}
    order = sorted(chosen, key=lambda text: (_is_short(chosen[text]), stable_fraction(text), text))
    test = [chosen[text] for text in order[:num_test]]
    valid = [chosen[text] for text in order[num_test : num_test + num_valid]]
    held_out_texts = {recording.text for recording in test + valid}
    held_out = {recording.clip.path for recording in test + valid}
    train: list[Recording] = []
    pretrain: list[Clip] = []
    left_out: list[Refusal] = []
    for recording in recordings:
        clip = recording.clip
        if clip.path in held_out:
            continue
        if recording.text in held_out_texts:
            left_out.append(Refusal(clip.path, "same text as a held-out prompt"))
            continue
        if recording.text is not None:
            train.append(recording)
        if clip.num_samples < min_seconds * SAMPLE_RATE_HZ:
            reason = f"shorter than {min_seconds:g} s (left out of pre-training only)"
            left_out.append(Refusal(clip.path, reason, f"{clip.num_samples / SAMPLE_RATE_HZ:.3f} s"))
        else:
            pretrain.append(clip)
    return Splits(_by_path(train), _by_path(valid), _by_path(test), pretrain, left_out)


def _is_short(recording: Recording) -> bool:
    return recording.clip.num_samples < _USEFUL_SECONDS * SAMPLE_RATE_HZ


def _preference(recording: Recording) -> tuple[bool, str]:
    return _is_short(recording), recording.clip.path


def _by_path(recordings: list[Recording]) -> list[Recording]:
    return sorted(recordings, key=lambda recording: recording.clip.path)


def write_corpus(
    dest: Path,
    recordings: Sequence[Recording],
    refusals: Sequence[Refusal],
    *,
    num_found: int,
    num_test: int,
    num_valid: int,
    min_seconds: float,
    licences: str,
    force: bool,
    notes: Sequence[str] = (),
) -> str:
    """Split the recordings below DEST/audio, write all manifests and labels, and return the summary."""
    splits = split_recordings(recordings, num_test, num_valid, min_seconds)
    pretrain = sorted(splits.pretrain, key=lambda clip: clip.path)
    pretrain_train, pretrain_valid, note = split_clips(pretrain, PRETRAIN_VALID_FRACTION)
    finetune = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    _check_letters(finetune)
    corpus = Prepared(
        dest / "audio",
        {
            "pretrain/train": [Utterance(clip) for clip in pretrain_train],
            "pretrain/valid": [Utterance(clip) for clip in pretrain_valid],
            **{f"finetune/{name}": [Utterance(one.clip, one.text) for one in part] for name, part in finetune.items()},
        },
        [*refusals, *splits.left_out],
        num_found,
        notes=[*notes, *([note] if note else [])],
        files={"LICENSES.txt": licences},
    )
    return corpus_files.write_corpus(dest, corpus, sample_rate_hz=SAMPLE_RATE_HZ, force=force)


def _check_letters(splits: dict[str, list[Recording]]) -> None:
    known = {letter for one in splits["train"] for letter in one.text or ""}
    for name in ("valid", "test"):
        for one in splits[name]:
            for letter in one.text or "":
                if letter not in known:
                    raise InputError(
                        f"the letter {letter} of a {name} prompt is in no training prompt: "
                        "hold out fewer (--held-out, --valid)"
                    )
