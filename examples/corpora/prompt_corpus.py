"""Splits and files of a corpus of prompts: pre-training in all languages, fine-tuning in English.

DEST/pretrain/{train,valid}.tsv        DEST/finetune/{train,train_5min,valid,test}.{tsv,ltr,wrd}, dict.ltr.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from summarymixing_fairseq.corpora.writing import corpus as corpus_files
from summarymixing_fairseq.corpora.writing.labels import Utterance
from summarymixing_fairseq.corpora.writing.options import ManifestOptions
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.corpora.writing.splits import split_clips, stable_fraction
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

PRETRAIN_VALID_FRACTION = 0.02
# Of `train_5min`, the part of `train` for fine-tuning on few labels.
FEW_SECONDS = 300
# Shorter prompts (one letter, one digit) say little about a recogniser: they are held out last.
_USEFUL_SECONDS = 1.0


@dataclass(frozen=True)
class Prompts:
    """Clips of a source, below DEST/audio. A text is normalised and English; a clip without is not fine-tuned on."""

    recordings: Sequence[Utterance]
    num_found: int
    licences: str
    refusals: Sequence[Refusal] = ()
    notes: Sequence[str] = ()


def split_recordings(
    recordings: Sequence[Utterance], num_test: int, num_valid: int, min_seconds: float
) -> tuple[dict[str, list[Utterance]], list[Clip], list[Refusal]]:
    """Hold out `num_test` English texts and then `num_valid`, in the order of the texts' hashes.

    Of each held-out text one recording is in its split. All others of that text are left out of everything, also of
    pre-training, so that no model has heard what it is tested or validated on.

    Args:
        min_seconds: of the shortest clip for pre-training.

    Returns:
        The splits for fine-tuning, clips for pre-training, and what was left out, each sorted by path.

    Raises:
        InputError: if no text is left to train on.
    """
    recordings = sorted(recordings, key=lambda one: one.clip.path)
    by_text: dict[str, list[Utterance]] = {}
    for one in recordings:
        if one.text is not None:
            by_text.setdefault(one.text, []).append(one)
    if len(by_text) <= num_test + num_valid:
        raise InputError(
            f"{len(by_text)} different English texts are too few for --held-out {num_test} and "
            f"--valid {num_valid}: lower them, so that some are left to train on"
        )
    chosen = {text: min(same, key=lambda one: (_is_short(one), one.clip.path)) for text, same in by_text.items()}
    order = sorted(chosen, key=lambda text: (_is_short(chosen[text]), stable_fraction(text), text))
    split_of = dict.fromkeys(order[:num_test], "test")
    split_of.update(dict.fromkeys(order[num_test : num_test + num_valid], "valid"))
    splits: dict[str, list[Utterance]] = {"train": [], "valid": [], "test": []}
    pretrain: list[Clip] = []
    left_out: list[Refusal] = []
    for one in recordings:
        clip, text = one.clip, one.text
        if text is not None:
            split = split_of.get(text, "train")
            if split != "train" and one is not chosen[text]:
                left_out.append(Refusal(clip.path, "same text as a held-out prompt"))
                continue
            splits[split].append(one)
            if split != "train":
                continue
        if clip.num_samples < min_seconds * SAMPLE_RATE_HZ:
            reason = f"shorter than {min_seconds:g} s (left out of pre-training only)"
            left_out.append(Refusal(clip.path, reason, f"{clip.num_samples / SAMPLE_RATE_HZ:.3f} s"))
        else:
            pretrain.append(clip)
    return splits, pretrain, left_out


def few(recordings: Sequence[Utterance]) -> list[Utterance]:
    """Five minutes of the recordings, in their order: whose paths have the lowest hashes."""
    chosen, seconds = set(), 0.0
    for one in sorted(recordings, key=lambda one: (stable_fraction(one.clip.path), one.clip.path)):
        seconds += one.clip.num_samples / SAMPLE_RATE_HZ
        if seconds > FEW_SECONDS:
            break
        chosen.add(one.clip.path)
    return [one for one in recordings if one.clip.path in chosen]


def _is_short(one: Utterance) -> bool:
    return one.clip.num_samples < _USEFUL_SECONDS * SAMPLE_RATE_HZ


def write_corpus(
    dest: Path, prompts: Prompts, *, num_test: int, num_valid: int, min_seconds: float, force: bool
) -> str:
    """Split the recordings, write all manifests and labels, and return the summary to print.

    Raises:
        InputError: as `split_recordings`; if a held-out prompt has a letter that no training prompt has; or if files
            exist with other content and `force` is not given.
    """
    finetune, clips, left_out = split_recordings(prompts.recordings, num_test, num_valid, min_seconds)
    pretrain_train, pretrain_valid, moved = split_clips(clips, PRETRAIN_VALID_FRACTION)
    letters = {name: {letter for one in part for letter in one.text or ""} for name, part in finetune.items()}
    for name in ("valid", "test"):
        unknown = letters[name] - letters["train"]
        if unknown:
            raise InputError(
                f"the letter {min(unknown)} of a {name} prompt is in no training prompt: "
                "hold out fewer (--held-out, --valid)"
            )
    splits = {
        "pretrain/train": [Utterance(clip) for clip in pretrain_train],
        "pretrain/valid": [Utterance(clip) for clip in pretrain_valid],
        **{f"finetune/{name}": part for name, part in finetune.items()},
        "finetune/train_5min": few(finetune["train"]),
    }
    corpus = corpus_files.Prepared(
        dest / "audio",
        splits,
        [*prompts.refusals, *left_out],
        prompts.num_found,
        notes=[*prompts.notes, *moved],
        files={"LICENSES.txt": prompts.licences},
    )
    return corpus_files.write_corpus(corpus, ManifestOptions(dest, force=force))
