"""Telephone prompts spoken by espeak-ng: what asterisk.py falls back on without Debian packages."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

from prompt_corpus import SAMPLE_RATE_HZ, Recording
from prompts import GRAMMARS, compose
from synthesiser import SynthesiserError, speak

from summarymixing_fairseq.corpora.audio.flac_file import existing_num_samples, write_flac
from summarymixing_fairseq.corpora.text.english_text import normalise
from summarymixing_fairseq.corpora.writing.writer import Clip
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.parallel import parallel_map

LANGUAGES = tuple(GRAMMARS)

LICENCE = "Spoken by espeak-ng (https://github.com/espeak-ng/espeak-ng) from the texts of prompts.py (MIT).\n"

NUM_ENGLISH_PROMPTS = 500
NUM_OTHER_PROMPTS = 150

_VOICES = {
    "en": ("en-us", "en-us+f2", "en-us+m3", "en-us+f5", "en", "en+f4", "en+m7", "en-gb-scotland"),
    "fr": ("fr", "fr+f2", "fr+m3", "fr-be+f4", "fr+m7"),
}
_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7")


def speak_corpus(
    audio_dir: Path,
    languages: Sequence[str],
    *,
    workers: int | None,
    num_english: int = NUM_ENGLISH_PROMPTS,
    num_other: int = NUM_OTHER_PROMPTS,
) -> list[Recording]:
    """Speak prompts of each language to `audio_dir`/<language>/<hash of text>.flac; English with its text.

    Voice, speed and pitch follow from the text, so that every run makes the same files; those that exist
    already are kept.
    """
    work = [
        (language, text)
        for language in languages
        for text in compose(language, num_english if language == "en" else num_other)
    ]
    try:
        clips = parallel_map(
            functools.partial(_speak_clip, audio_dir=audio_dir),
            work,
            workers=workers,
            description="speaking prompts",
        )
    except SynthesiserError as error:
        raise InputError(str(error)) from None
    return [
        Recording(clip, language, normalise(text) if language == "en" else None)
        for (language, text), clip in zip(work, clips)
    ]


def _speak_clip(language_and_text: tuple[str, str], audio_dir: Path) -> Clip:
    language, text = language_and_text
    digest = hashlib.sha1(text.encode("utf-8")).digest()
    voices = _VOICES.get(language) or [language + variant for variant in _VARIANTS]
    path = f"{language}/{digest.hex()[:12]}.flac"
    num_samples = existing_num_samples(audio_dir / path, SAMPLE_RATE_HZ)
    if not num_samples:
        samples = speak(
            text,
            voices[digest[0] % len(voices)],
            sample_rate_hz=SAMPLE_RATE_HZ,
            words_per_minute=145 + digest[1] % 45,
            pitch=40 + digest[2] % 25,
        )
        write_flac(audio_dir / path, samples, SAMPLE_RATE_HZ)
        num_samples = len(samples)
    return Clip(path, num_samples)
