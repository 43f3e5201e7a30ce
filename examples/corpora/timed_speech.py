"""Speech whose phones and words are known to the sample: the synthesiser's own times, not those of an aligner.

    python examples/corpora/timed_speech.py --dest DIR

espeak-ng speaks plain sentences in five languages. Test sentences, and the speakers of the test, are in no training
clip. Every speaker speaks all languages.

    DIR
    ├── audio/LANGUAGE/SPEAKER/*.flac   16 kHz: the root of both manifests
    ├── train.tsv, test.tsv
    ├── alignments/                     of each clip NAME.TextGrid and NAME.json: tiers "phones" and "words"
    └── README.md
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from clips import make_clip
from sentences import load
from voices import RECIPE_VERSION, TEST_SPEAKERS, TRAIN_SPEAKERS, Delivery, Voice, say_timed

from summarymixing_fairseq.corpora.writing.corpus import Prepared, write_corpus
from summarymixing_fairseq.corpora.writing.labels import Utterance
from summarymixing_fairseq.corpora.writing.options import ManifestOptions, positive_int
from summarymixing_fairseq.corpora.writing.rows import Clip
from summarymixing_fairseq.data.alignments import Alignment, as_json, as_textgrid
from summarymixing_fairseq.data.synthesiser import tiers_of
from summarymixing_fairseq.system import command
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.files import write_together
from summarymixing_fairseq.system.parallel import parallel_iter
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

SENTENCES: dict[str, dict[str, list[str]]] = load("timed")
SPEAKERS = {"train": TRAIN_SPEAKERS[:12], "test": TEST_SPEAKERS[:8]}
# By which --minutes become a number of clips.
_SECONDS_A_CLIP = 2.6

README = """\
# Speech with the times of its phones and words

Spoken by espeak-ng (https://github.com/espeak-ng/espeak-ng) from the sentences of data/timed.yaml (MIT). Times are the
synthesiser's own. Phones have espeak-ng's names of the language. Where espeak-ng speaks two words as one ("of the"),
they are one interval of the tier "words".
"""


@dataclass(frozen=True)
class Line:
    """A clip to be spoken. `voice` speaks `language`; its name is that of the speaker."""

    split: str
    language: str
    text: str
    voice: Voice

    @property
    def name(self) -> str:
        """Path below DIR/audio without extension. It has a hash of the whole recipe: a file that exists is right."""
        recipe = repr((RECIPE_VERSION, self.text, self.voice)).encode("utf-8")
        return f"{self.language}/{self.voice.name}/{hashlib.sha1(recipe).hexdigest()[:12]}"


def prepare(dest: Path, *, minutes: float = 10.0, workers: int | None = None, force: bool = False) -> str:
    """Speak the corpus into `dest`, and return the summary to print.

    Args:
        minutes: of speech, about.

    Raises:
        InputError: for more minutes than there are, or files that exist with other content.
    """
    lines = compose_lines(minutes)
    speak = functools.partial(_speak, dest=dest)
    clips = list(parallel_iter(speak, lines, workers=workers, description="speaking"))
    splits: dict[str, list[Utterance]] = {split: [] for split in SPEAKERS}
    for line, clip in zip(lines, clips):
        splits[line.split].append(Utterance(clip))
    prepared = Prepared(dest / "audio", splits, [], len(clips), files={"README.md": README})
    return write_corpus(prepared, ManifestOptions(dest, force=force))


def compose_lines(minutes: float) -> list[Line]:
    """All clips, not spoken yet: of each split as large a share as of the whole corpus."""
    lines = {split: _lines(split) for split in SPEAKERS}
    most = sum(map(len, lines.values())) * _SECONDS_A_CLIP / 60
    fewest = most / min(len(these) for these in lines.values()) * len(SENTENCES)  # a test clip of each language
    if not (math.isfinite(minutes) and fewest <= minutes <= most):
        raise InputError(f"--minutes {minutes:g} must be from {math.ceil(fewest * 10) / 10:g} to {most:.0f}")
    return [line for these in lines.values() for line in these[: math.ceil(len(these) * minutes / most)]]


def _lines(split: str) -> list[Line]:
    """Every sentence by every speaker. Each beginning of the list has languages, sentences and speakers in turn."""
    speakers = SPEAKERS[split]
    lines = []
    for turn in range(len(speakers)):
        for sentences in zip(*(SENTENCES[language][split] for language in SENTENCES)):
            for language, text in zip(SENTENCES, sentences):
                speaker = speakers[(SENTENCES[language][split].index(text) + turn) % len(speakers)]
                variant = speaker.espeak.partition("+")[2]
                lines.append(Line(split, language, text, replace(speaker, espeak=f"{language}+{variant}")))
    return lines


def _speak(line: Line, dest: Path) -> Clip:
    def samples() -> np.ndarray:
        """Written before the clip itself: where that is, its labels are whole."""
        spoken, words = say_timed(line.text, line.voice, Delivery())
        seconds = len(spoken) / SAMPLE_RATE_HZ
        alignment = Alignment(tiers_of(words), seconds, line.voice.name, line.language, line.text)
        folder = dest / "alignments"
        files = {f"{line.name}.TextGrid": as_textgrid(alignment), f"{line.name}.json": as_json(alignment)}
        write_together({folder / name: text for name, text in files.items()})
        return spoken

    return make_clip(dest / "audio", f"{line.name}.flac", samples)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Make speech with exact times of phones and words, in five languages, spoken by espeak-ng."
    )
    parser.add_argument("--dest", required=True, type=Path, help="folder for audio, manifests and labels")
    parser.add_argument("--minutes", type=float, default=10.0, help="of speech, about (10; up to 55)")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")
    args = parser.parse_args(argv)
    return command.run_script(lambda: prepare(**vars(args)), args.dest)


if __name__ == "__main__":
    command.as_script(main)
