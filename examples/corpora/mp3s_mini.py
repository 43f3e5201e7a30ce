"""MP3S in miniature: the corpora of all six tasks of the benchmark, spoken by espeak-ng, in a minute or two.

    python examples/corpora/mp3s_mini.py --dest DIR

MP3S (arXiv 2308.14456) probes speech encoders on recognition in English, Welsh and Basque, on intents, emotions and
speakers. Here synthetic speech imitates each of its corpora. The files are those that `summarymixing manifest` writes
for the real ones:

    DIR
    ├── audio/...                 all clips, flac, 16 kHz: the root of every manifest
    ├── pretrain/                 {train,valid}.tsv: speech to pre-train a small encoder on
    ├── librispeech/              {train,valid,test_clean,test_other}.{tsv,ltr,wrd}, dict.ltr.txt
    ├── commonvoice_{cy,eu}/      {train,valid,test}.{tsv,wrd,ltr,bpe100}, dict.{ltr,bpe100}.txt, bpe100.model
    ├── slurp/                    {train,valid,test}.{tsv,scenario}, dict.scenario.txt
    ├── iemocap/                  {train,valid,test}.{tsv,emotion}, dict.emotion.txt
    └── voxceleb1/                {train,valid}.{tsv,speaker}, dict.speaker.txt, test.{tsv,trials}

No sentence is in two splits of a task. Pre-training has no sentence of any valid or test split, and no test speaker of
voxceleb1. Figures on these corpora compare encoders and show that the parts work. They are not the benchmark's.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clips import make_clip
from sentences import GRAMMARS, SCENARIOS, compose, compose_prompts, pick, rich_first
from voices import HARD_READERS, RECIPE_VERSION, TEST_SPEAKERS, TRAIN_SPEAKERS, Delivery, Voice, readers, say

from summarymixing_fairseq.corpora.text import english_text, unicode_text
from summarymixing_fairseq.corpora.text.pieces import Pieces, train_pieces
from summarymixing_fairseq.corpora.writing.corpus import Prepared, write_corpus
from summarymixing_fairseq.corpora.writing.labels import LETTERS, Units, Utterance
from summarymixing_fairseq.corpora.writing.options import ManifestOptions, positive_int
from summarymixing_fairseq.corpora.writing.rows import Clip
from summarymixing_fairseq.corpora.writing.splits import stable_fraction
from summarymixing_fairseq.system import command
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.parallel import parallel_iter
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

NOTE = "synthetic speech: figures compare encoders and show that the parts work; they are not the benchmark's"

# Clips of each split at --scale 1, and the fewest at any scale.
_READ_ENGLISH = {"train": 250, "valid": 40, "test_clean": 60, "test_other": 60}
_READ_OTHER = {"train": 200, "valid": 30, "test": 60}
_FEWEST_READ = {"train": 12, "valid": 2, "test_clean": 3, "test_other": 3, "test": 3}
_PER_SCENARIO = {"train": 25, "valid": 4, "test": 7}
_PER_EMOTION = {"train": 50, "valid": 12, "test": 20}
_PER_SPEAKER = {"train": 15, "valid": 3, "test": 12}
_FEWEST_LABELLED = {"train": 2, "valid": 1, "test": 2}
_PRETRAIN = {"stories": 170, "talk": 120, "commands": 6, "cy": 200, "eu": 200, "es": 60, "fr": 60, "it": 60, "ru": 60}
_PRETRAIN_VALID_SHARE = 0.04

# Sentences for reading are chosen from as many candidates, those first that bring new letters and words.
_CANDIDATES = 500
_MOST_PIECES = 100
_CLIPS_PER_VIDEO = 3
# Figures of a delivery that are drawn by another name than their own.
_KEY_OF = {"level_dbfs": "level", "snr_db": "noise", "formant_scale": "formants"}


@dataclass(frozen=True)
class Line:
    """A clip to be spoken.

    Attributes:
        spoken: what is said; text: its transcript, for recognition.
        labels: class labels by kind.
        folder: of the clip, below DIR/audio; "": TASK/SPEAKER.
    """

    task: str
    split: str
    spoken: str
    voice: Voice
    delivery: Delivery
    text: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""

    @property
    def path(self) -> str:
        """Path below DIR/audio. It has a hash of the whole recipe, so a file that exists is the right one."""
        recipe = repr((RECIPE_VERSION, self.spoken, self.voice, self.delivery)).encode("utf-8")
        return f"{self.folder or f'{self.task}/{self.voice.name}'}/{hashlib.sha1(recipe).hexdigest()[:12]}.flac"


def prepare(dest: Path, *, scale: float = 1.0, workers: int | None = None, force: bool = False) -> str:
    """Speak all corpora into `dest`, and return the summary to print.

    Args:
        scale: factor for the number of clips.

    Raises:
        InputError: for a scale that needs more sentences than there are, or files that exist with other content.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(f"--scale {scale:g} must be above 0")
    lines = compose_lines(scale)
    speak = functools.partial(_speak, audio_dir=dest / "audio")
    clips = list(parallel_iter(speak, lines, workers=workers, description="speaking"))
    tasks: dict[str, dict[str, list[Utterance]]] = {}
    for line, clip in zip(lines, clips):
        tasks.setdefault(line.task, {}).setdefault(line.split, []).append(Utterance(clip, line.text, line.labels))
    summary = []
    for task, splits in tasks.items():
        units, files = _extras(task, splits)
        num_clips = sum(map(len, splits.values()))
        minutes = _minutes([one.clip for these in splits.values() for one in these])
        prepared = Prepared(dest / "audio", splits, [], num_clips, files=files, units=units)
        written = write_corpus(prepared, ManifestOptions(dest / task, force=force))
        details = "".join(f"\n  {line}" for line in written.splitlines()[1:])
        summary.append(f"{task}: {num_clips:,} clips, {minutes:.1f} min{details}")
    return "\n".join([*summary, f"in all: {len(clips):,} clips, {_minutes(clips):.1f} min", NOTE])


def compose_lines(scale: float) -> list[Line]:
    """All clips of all corpora, not spoken yet."""
    lines = [
        *_read("librispeech", "en", "stories", _READ_ENGLISH, scale),
        *_read("commonvoice_cy", "cy", "cy", _READ_OTHER, scale),
        *_read("commonvoice_eu", "eu", "eu", _READ_OTHER, scale),
        *_commands(scale),
        *_emotions(scale),
        *_speakers(scale),
    ]
    held_out = {one.spoken for one in lines if one.split != "train"}
    return [*lines, *_pretraining(scale, held_out)]


def _speak(line: Line, audio_dir: Path) -> Clip:
    return make_clip(audio_dir, line.path, lambda: say(line.spoken, line.voice, line.delivery))


def _minutes(clips: Sequence[Clip]) -> float:
    return sum(clip.num_samples for clip in clips) / SAMPLE_RATE_HZ / 60


def _scaled(count: int, scale: float, fewest: int) -> int:
    return max(fewest, round(count * scale))


def _drawn(key: str, **figures: tuple[float, float]) -> dict[str, float]:
    """Figures of a delivery, each within its spread of its middle, drawn by the hash of `key` and the figure's name."""
    drawn = {}
    for figure, (middle, spread) in figures.items():
        name = _KEY_OF.get(figure, figure)
        # the sum of two draws: the nearer to the middle, the likelier
        draws = stable_fraction(f"{key} {name} a") + stable_fraction(f"{key} {name} b")
        drawn[figure] = round(middle + spread * (draws - 1.0), 3)
    return drawn


def _read(task: str, language: str, grammar: str, counts: Mapping[str, int], scale: float) -> Iterator[Line]:
    """Sentences read aloud. Readers of valid and test do not read for train."""
    accents = ("en-us", "en", "en-gb-scotland") if language == "en" else (language,)
    for split, full in counts.items():
        count = _scaled(full, scale, _FEWEST_READ[split])
        num_candidates = max(count, _CANDIDATES) if split == "train" else count
        sentences = compose(GRAMMARS[grammar], split.removesuffix("_clean"), num_candidates)
        if split == "train":
            sentences = rich_first(sentences)[:count]
        hard = split == "test_other"
        first, number = {"train": (0, 12), "valid": (12, 4)}.get(split, (16, 8))
        for sentence in sentences:
            key = f"{task} {sentence}"
            accent = pick(f"{key} accent", accents)
            voice = pick(f"{key} voice", HARD_READERS if hard else readers(accent, first, number))
            noise = (17, 5) if hard else (35, 8)
            drawn = _drawn(key, pitch=(0, 8), rate=(1.0, 0.12), level_dbfs=(-24, 4), snr_db=noise)
            is_english = language == "en"
            text = english_text.normalise(sentence) if is_english else unicode_text.normalise(sentence, language)
            yield Line(task, split, sentence, voice, Delivery(**drawn), text)


def _commands(scale: float) -> Iterator[Line]:
    """Commands by scenario. As in SLURP, splits share speakers. There are few, as the words are what counts."""
    for scenario, grammar in SCENARIOS.items():
        for split, full in _PER_SCENARIO.items():
            for sentence in compose(grammar, split, _scaled(full, scale, _FEWEST_LABELLED[split])):
                voice, delivery = _someone(f"slurp {sentence}", TRAIN_SPEAKERS[12:])
                yield Line("slurp", split, sentence, voice, delivery, labels={"scenario": scenario})


def _someone(key: str, voices: Sequence[Voice]) -> tuple[Voice, Delivery]:
    """One of `voices` and a delivery, drawn by the hash of `key`."""
    voice = pick(f"{key} voice", voices)
    drawn = _drawn(key, pitch=(0, 12), rate=(1.0, 0.18), level_dbfs=(-24, 6), tilt=(0, 0.3), snr_db=(30, 10))
    return voice, Delivery(**drawn)


# How an emotion changes a voice: middle and spread of each figure. As is known of vocal emotion: anger is loud, bright
# and harsh, joy high and lively, sadness low, slow and dull. The ranges overlap, as do those of real speakers.
_FIGURES = ("pitch", "rate", "level_dbfs", "tilt", "roughness")
_EMOTIONS = {
    "ang": ((6, 12), (1.16, 0.16), (-20, 6), (0.25, 0.3), (0.6, 0.3)),
    "hap": ((24, 14), (1.08, 0.16), (-22, 6), (0.10, 0.3), (0.0, 0.2)),
    "neu": ((0, 12), (0.98, 0.12), (-24, 6), (0.0, 0.3), (0.0, 0.2)),
    "sad": ((-16, 12), (0.8, 0.14), (-28, 6), (-0.2, 0.3), (0.0, 0.2)),
}
# Share of its sentences with an exclamation mark.
_EXCLAIMED = {"ang": 0.5, "hap": 0.7, "neu": 0.1, "sad": 0.0}


def _emotions(scale: float) -> Iterator[Line]:
    """The same sentence by the same speaker in each emotion; no speaker and no sentence is in two splits."""
    for split, full in _PER_EMOTION.items():
        first, number = {"train": (0, 14), "valid": (14, 4), "test": (18, 6)}[split]
        speakers = TRAIN_SPEAKERS[first : first + number]
        sentences = compose(GRAMMARS["statements"], split, _scaled(full, scale, _FEWEST_LABELLED[split]))
        for index, sentence in enumerate(sentences):
            voice = speakers[index % number]
            for name, figures in _EMOTIONS.items():
                key = f"iemocap {sentence} {name}"
                drawn = _drawn(key, **dict(zip(_FIGURES, figures)), snr_db=(32, 6))
                drawn["roughness"] = max(0.0, drawn["roughness"])
                mark = "!" if stable_fraction(f"{key} mark") < _EXCLAIMED[name] else "."
                yield Line("iemocap", split, sentence + mark, voice, Delivery(**drawn), labels={"emotion": name})


def _speakers(scale: float) -> Iterator[Line]:
    """Many speakers, each in several videos with a channel of its own. Valid has other videos than train."""
    for split, full in _PER_SPEAKER.items():
        count = _scaled(full, scale, _FEWEST_LABELLED[split])
        speakers = TEST_SPEAKERS if split == "test" else TRAIN_SPEAKERS
        for index, sentence in enumerate(compose(GRAMMARS["talk"], split, count * len(speakers))):
            voice = speakers[index % len(speakers)]
            # At least two videos, so that each test speaker has a pair of clips from different ones.
            video = f"{split}{index // len(speakers) // min(_CLIPS_PER_VIDEO, math.ceil(count / 2)):02}"
            spoken = _drawn(f"voxceleb1 {sentence}", pitch=(0, 20), rate=(1.0, 0.2), formant_scale=(1.0, 0.06))
            channel = _drawn(f"voxceleb1 {voice.name} {video}", level_dbfs=(-25, 6), tilt=(0, 0.7), snr_db=(15, 10))
            delivery = Delivery(**spoken, **channel)
            folder = f"voxceleb1/{voice.name}/{video}"
            # as in the package's corpora/voxceleb.py: test speakers are not classes, their paths name them
            labels = {} if split == "test" else {"speaker": voice.name}
            yield Line("voxceleb1", split, sentence, voice, delivery, labels=labels, folder=folder)


def _pretraining(scale: float, held_out: set[str]) -> Iterator[Line]:
    """Sentences of all grammars and telephone prompts, by all speakers except those of test."""
    counts = {name: _scaled(full, scale, 2) for name, full in _PRETRAIN.items()}
    grammars = [("en", GRAMMARS[name], counts[name]) for name in ("stories", "talk")]
    grammars += [("en", grammar, counts["commands"]) for grammar in SCENARIOS.values()]
    grammars += [(language, GRAMMARS[language], counts[language]) for language in ("cy", "eu")]
    sentences = [(language, one) for language, grammar, n in grammars for one in compose(grammar, "pretrain", n)]
    for language in ("es", "fr", "it", "ru"):
        sentences += [(language, one) for one in compose_prompts(language, counts[language])]
    # dict.fromkeys: two grammars may give the same sentence
    kept = [pair for pair in dict.fromkeys(sentences) if pair[1] not in held_out]
    num_valid = _scaled(len(kept), _PRETRAIN_VALID_SHARE, 2)
    for_valid = set(sorted(kept, key=lambda pair: stable_fraction("pretrain valid " + pair[1]))[:num_valid])
    for language, sentence in kept:
        voice, delivery = _someone(f"pretrain {sentence}", TRAIN_SPEAKERS if language == "en" else readers(language))
        split = "valid" if (language, sentence) in for_valid else "train"
        yield Line("pretrain", split, sentence, voice, delivery, folder=f"pretrain/{language}")


def _extras(task: str, splits: Mapping[str, Sequence[Utterance]]) -> tuple[Units, dict[str, str | bytes]]:
    """Units for a task's transcripts, and its files besides manifests and labels."""
    if task.startswith("commonvoice"):
        pieces = _pieces({split: [one.text or "" for one in these] for split, these in splits.items()})
        name = f"bpe{_MOST_PIECES}"
        return {**LETTERS, name: pieces.encode}, {f"{name}.model": pieces.model}
    if task == "voxceleb1":
        return LETTERS, {"test.trials": _trials([one.clip.path for one in splits["test"]])}
    return LETTERS, {}


def _pieces(texts: Mapping[str, Sequence[str]]) -> Pieces:
    """As many pieces as the texts of train allow, at most 100, so that no split needs a piece that train lacks."""
    fewest = len(set("".join(texts["train"])) - {" "}) + 2  # its letters, `<unk>` and the mark of a word's beginning
    for size in range(_MOST_PIECES, fewest - 1, -1):
        try:
            pieces = train_pieces(texts["train"], size)
        except InputError:
            if size == fewest:
                raise
            continue
        used = {split: set(" ".join(map(pieces.encode, these)).split()) for split, these in texts.items()}
        if size == fewest or all(these <= used["train"] for these in used.values()):
            break
    return pieces


def _trials(paths: Sequence[str]) -> str:
    """All pairs of one speaker's clips from two videos, and as many pairs of two speakers.

    Each is a line `<1 or 0><TAB>path<TAB>path`; 1: the same speaker.
    """
    same, different = [], []
    for pair in itertools.combinations(paths, 2):
        (speaker, video), (other_speaker, other_video) = (path.split("/")[-3:-1] for path in pair)
        if speaker != other_speaker:
            different.append(pair)
        elif video != other_video:
            same.append(pair)
    different = sorted(different, key=lambda pair: stable_fraction("\t".join(pair)))[: len(same)]
    trials = [("1", *pair) for pair in same] + [("0", *pair) for pair in different]
    return "".join("\t".join(trial) + "\n" for trial in sorted(trials, key=lambda trial: trial[1:]))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Make the corpora of MP3S in miniature, spoken by espeak-ng.")
    parser.add_argument("--dest", required=True, type=Path, help="folder for audio, manifests and labels")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="factor for the number of clips (1.0; there are sentences up to 1.8)"
    )
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")
    args = parser.parse_args(argv)
    return command.run_script(lambda: prepare(**vars(args)), args.dest)


if __name__ == "__main__":
    command.as_script(main)
