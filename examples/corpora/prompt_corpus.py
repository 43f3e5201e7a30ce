"""Splits and files of a corpus of prompts: pre-training in all languages, fine-tuning in English.

DEST/pretrain/{train,valid}.tsv        DEST/finetune/{train,valid,test}.{tsv,ltr,wrd}, dict.ltr.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.corpora.writing import corpus as corpus_files
from summarymixing_fairseq.corpora.writing.corpus import Prepared
from summarymixing_fairseq.corpora.writing.labels import Utterance
from summarymixing_fairseq.corpora.writing.options import ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.corpora.writing.splits import split_clips, stable_fraction
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

PRETRAIN_VALID_FRACTION = 0.02
# Shorter prompts (one letter, one digit) say little about a recogniser: they are held out last.
_USEFUL_SECONDS = 1.0


@dataclass(frozen=True)
class Recording:
    """One clip of the corpus. `text` is its normalised English text; None: it is not used for fine-tuning."""

    clip: Clip
    language: str
    text: str | None = None

    @property
    def is_short(self) -> bool:
        """Whether it is too short to be a useful test."""
        return self.clip.num_samples < _USEFUL_SECONDS * SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Splits:
    """English recordings for fine-tuning, and clips of all languages for pre-training, each sorted by path."""

    train: list[Recording]
    valid: list[Recording]
    test: list[Recording]
    pretrain: list[Clip]
    left_out: list[Refusal]


def split_recordings(recordings: Sequence[Recording], num_test: int, num_valid: int, min_seconds: float) -> Splits:
    """Hold out `num_test` English texts and then `num_valid`, in the order of the texts' hashes.

    Of each held-out text one recording is in its split. All others of that text are left out of everything, also of
    pre-training, so that no model has heard what it is tested or validated on.

    Args:
        min_seconds: of the shortest clip for pre-training.

    Raises:
        InputError: if no text is left to train on.
    """
    recordings = sorted(recordings, key=lambda recording: recording.clip.path)
    by_text: dict[str, list[Recording]] = {}
    for recording in recordings:
        if recording.text is not None:
            by_text.setdefault(recording.text, []).append(recording)
    if len(by_text) <= num_test + num_valid:
        raise InputError(
            f"{len(by_text)} different English texts are too few for --held-out {num_test} and "
            f"--valid {num_valid}: lower them, so that some are left to train on"
        )
    chosen = {text: min(same, key=lambda one: (one.is_short, one.clip.path)) for text, same in by_text.items()}
    order = sorted(chosen, key=lambda text: (chosen[text].is_short, stable_fraction(text), text))
    splits = Splits([], [], [], [], [])
    held_out = dict.fromkeys(order[:num_test], splits.test)
    held_out.update(dict.fromkeys(order[num_test : num_test + num_valid], splits.valid))
    for recording in recordings:
        clip, text = recording.clip, recording.text
        if text is not None and text in held_out:
            if recording is chosen[text]:
                held_out[text].append(recording)
            else:
                splits.left_out.append(Refusal(clip.path, "same text as a held-out prompt"))
            continue
        if text is not None:
            splits.train.append(recording)
        if clip.num_samples < min_seconds * SAMPLE_RATE_HZ:
            reason = f"shorter than {min_seconds:g} s (left out of pre-training only)"
            splits.left_out.append(Refusal(clip.path, reason, f"{clip.num_samples / SAMPLE_RATE_HZ:.3f} s"))
        else:
            splits.pretrain.append(clip)
    return splits


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
    """Split the recordings below DEST/audio and write all manifests and labels.

    Returns:
        The summary to print.

    Raises:
        InputError: as `split_recordings`; if a held-out prompt has a letter that no training prompt has; or if files
            exist with other content and `force` is not given.
    """
    splits = split_recordings(recordings, num_test, num_valid, min_seconds)
    pretrain_train, pretrain_valid, moved = split_clips(splits.pretrain, PRETRAIN_VALID_FRACTION)
    finetune = {"train": splits.train, "valid": splits.valid, "test": splits.test}
    letters = {name: {letter for one in part for letter in one.text or ""} for name, part in finetune.items()}
    for name in ("valid", "test"):
        unknown = letters[name] - letters["train"]
        if unknown:
            raise InputError(
                f"the letter {min(unknown)} of a {name} prompt is in no training prompt: "
                "hold out fewer (--held-out, --valid)"
            )
    corpus = Prepared(
        dest / "audio",
        {
            "pretrain/train": [Utterance(clip) for clip in pretrain_train],
            "pretrain/valid": [Utterance(clip) for clip in pretrain_valid],
            **{f"finetune/{name}": [Utterance(one.clip, one.text) for one in part] for name, part in finetune.items()},
        },
        [*refusals, *splits.left_out],
        num_found,
        notes=[*notes, *moved],
        files={"LICENSES.txt": licences},
    )
    return corpus_files.write_corpus(corpus, ManifestOptions(dest, force=force))
