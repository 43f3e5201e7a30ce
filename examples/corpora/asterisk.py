"""The corpus of the quickstart: telephone voice prompts of the Asterisk exchange, from Debian's packages.

    python examples/corpora/asterisk.py --dest DIR

About 2,800 clips, two hours, in English, Spanish, French, Italian and Russian, one speaker for each language. Licences:
CC BY-SA 3.0; Russian CC BY 3.0. All languages are for pre-training. English has transcripts and is for fine-tuning too.
Where the packages cannot be had, espeak-ng speaks a corpus of the same layout.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from asterisk_packages import (
    VOICES,
    PackagesUnavailable,
    find_recordings,
    licence_text,
    package_roots,
    read_transcripts,
)
from clips import make_clip
from prompt_corpus import Prompts, write_corpus
from sentences import PROMPTS, compose_prompts

from summarymixing_fairseq.corpora.text.english_text import TextRefused, normalise, without_brackets
from summarymixing_fairseq.corpora.writing.labels import Utterance
from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.corpora.writing.rows import Clip, Refusal
from summarymixing_fairseq.data.synthesiser import speak
from summarymixing_fairseq.system import command
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.parallel import parallel_iter
from summarymixing_fairseq.system.units import SAMPLE_RATE_HZ

# Tones and noises, by their English names: not every language has transcripts that tell them from speech.
NON_SPEECH = {
    "ascending-2tone",
    "beep",
    "beeperr",
    "confbridge-join",
    "confbridge-leave",
    "descending-2tone",
    "tt-monkeys",
}
# G.722 at 64 kbit/s: each byte decodes to two samples at 16 kHz.
_G722_BITS_PER_SECOND = 64_000
_SAMPLES_PER_BYTE = 2

SPOKEN_LICENCE = (
    "Spoken by espeak-ng (https://github.com/espeak-ng/espeak-ng) from the texts of data/prompts.yaml (MIT).\n"
)
NUM_ENGLISH_PROMPTS = 500
NUM_OTHER_PROMPTS = 150
_SPOKEN_VOICES = {
    "en": ("en-us", "en-us+f2", "en-us+m3", "en-us+f5", "en", "en+f4", "en+m7", "en-gb-scotland"),
    "fr": ("fr", "fr+f2", "fr+m3", "fr-be+f4", "fr+m7"),
}
_VARIANTS = ("", "+f2", "+m3", "+f4", "+m7")


def prepare(
    dest: Path,
    *,
    languages: Sequence[str] | None = None,
    packages: Path | None = None,
    held_out: int = 60,
    num_valid: int = 30,
    min_seconds: float = 0.5,
    source: str = "auto",
    force: bool = False,
    workers: int | None = None,
) -> str:
    """Make the corpus in `dest`.

    Args:
        languages: codes, with `en` among them; all that the source has if None.
        packages: folder of .deb files, or of unpacked ones, to use instead of apt-get.
        held_out, num_valid: English texts in finetune/test and finetune/valid.
        min_seconds: of the shortest clip for pre-training.
        source: `apt`, `synthesiser`, or `auto`: apt if that works, else the synthesiser.

    Returns:
        The summary to print.

    Raises:
        InputError: for options that cannot be met, or packages that cannot be had.
    """
    for option, number in (("--held-out", held_out), ("--valid", num_valid)):
        if number < 1:
            raise InputError(f"{option} {number} must be 1 or more")
    if not (math.isfinite(min_seconds) and min_seconds >= 0):
        raise InputError(f"--min-seconds {min_seconds:g} must be 0 or more")
    if source == "synthesiser" and packages:
        raise InputError("--packages is of no use with --source synthesiser: leave one out")
    notes: list[str] = []
    roots = None
    if source != "synthesiser":
        chosen = _checked(languages, VOICES, "Debian has no prompts in")
        try:
            roots = package_roots(chosen, dest / "packages", packages)
        except PackagesUnavailable as error:
            if source == "apt" or packages:
                raise
            notes.append(f"not Debian's recordings but espeak-ng speaks: {error}")
            print(notes[0], file=sys.stderr)
    if roots is None:
        chosen = _checked(languages, PROMPTS, "there are no sentences to speak in")
        prompts = _speak_prompts(dest / "audio", chosen, workers)
    else:
        prompts = _decode_packages(roots, chosen, dest / "audio", workers)
        notes.append(f"recordings: CC BY-SA 3.0 (ru: CC BY 3.0), see {dest / 'LICENSES.txt'}")
    lengths = [_length_note(prompts.recordings, language) for language in chosen]
    return write_corpus(
        dest,
        replace(prompts, notes=[*lengths, *prompts.notes, *notes]),
        num_test=held_out,
        num_valid=num_valid,
        min_seconds=min_seconds,
        force=force,
    )


def _checked(languages: Sequence[str] | None, known: Iterable[str], problem: str) -> tuple[str, ...]:
    """`languages`, all `known` ones if None."""
    chosen, known = tuple(known if languages is None else languages), tuple(known)
    for language in chosen:
        if language not in known:
            raise InputError(f"{problem} '{language}': choose --languages from {' '.join(known)}")
    if "en" not in chosen:
        raise InputError("--languages must include en, which fine-tuning learns from")
    if len(set(chosen)) < len(chosen):
        raise InputError("--languages names a language twice")
    return chosen


def _length_note(recordings: Sequence[Utterance], language: str) -> str:
    lengths = [one.clip.num_samples for one in recordings if one.clip.path.startswith(f"{language}/")]
    return f"audio/{language}: {len(lengths):,} clips, {sum(lengths) / SAMPLE_RATE_HZ / 60:.1f} min"


def _decode_packages(roots: Sequence[Path], languages: Sequence[str], audio_dir: Path, workers: int | None) -> Prompts:
    """Decode all speech of the packages; English recordings have their texts."""
    try:
        import G722  # noqa: F401
    except ImportError:
        raise InputError("the wheel G722 is missing: pip install 'summarymixing-fairseq[quickstart]'") from None
    work: list[tuple[str, Path]] = []
    texts: dict[str, str] = {}
    refusals: list[Refusal] = []
    notes: list[str] = []
    num_found = 0
    for language in languages:
        files, transcripts = find_recordings(roots, language), read_transcripts(roots, language)
        if language == "en" and not transcripts:
            raise InputError("core-sounds-en.txt.gz is not in the packages: fine-tuning needs it")
        num_found += len(files)
        problems = {name: _speech_problem(name, transcripts.get(name)) for name in files}
        refusals += [Refusal(f"{language}/{name}.g722", why) for name, why in problems.items() if why]
        speech = [name for name, problem in problems.items() if not problem]
        work += [(f"{language}/{name}", files[name]) for name in speech]
        if language == "en":
            texts = {f"en/{name}.flac": text for name, text in transcripts.items()}
        num_without_text = len(set(speech) - transcripts.keys())
        num_without_clip = len(transcripts.keys() - files.keys())
        if num_without_text or num_without_clip:
            notes.append(
                f"{language}: without transcript {num_without_text} clips, without clip {num_without_clip} transcripts"
            )
    recordings = []
    decode = functools.partial(_decode, audio_dir=audio_dir)
    for result in parallel_iter(decode, work, workers=workers, description="decoding G.722"):
        if isinstance(result, Refusal):
            refusals.append(result)
            continue
        text = texts.get(result.path)
        try:
            text = text and normalise(text)
        except TextRefused as refused:
            refusals.append(Refusal(result.path, f"{refused} (left out of fine-tuning only)"))
            text = None
        recordings.append(Utterance(result, text))
    return Prompts(recordings, num_found, licence_text(languages), refusals, notes)


def _speech_problem(name: str, text: str | None) -> str | None:
    """Why a recording is left out of everything; None if it is speech."""
    if name.startswith("silence/"):
        return "silence"
    # "[sound of monkeys]" says what is heard; in "at [@]" the bracket explains what was said.
    if name in NON_SPEECH or (text is not None and not without_brackets(text)):
        return "tone or noise"
    return None


def _decode(name_and_file: tuple[str, Path], audio_dir: Path) -> Clip | Refusal:
    """Decode a raw G.722 file to AUDIO_DIR/name.flac."""
    from G722 import G722

    name, file = name_and_file
    try:
        encoded = file.read_bytes()
    except OSError as error:
        return Refusal(f"{name}.g722", "unreadable", error.strerror or "")
    if not encoded:
        return Refusal(f"{name}.g722", "empty file")

    def samples() -> np.ndarray:
        return np.asarray(G722(SAMPLE_RATE_HZ, _G722_BITS_PER_SECOND).decode(encoded), dtype=np.int16)

    return make_clip(audio_dir, f"{name}.flac", samples, len(encoded) * _SAMPLES_PER_BYTE)


def _speak_prompts(audio_dir: Path, languages: Sequence[str], workers: int | None) -> Prompts:
    """Speak prompts of each language; English ones have their texts."""
    counts = {language: NUM_ENGLISH_PROMPTS if language == "en" else NUM_OTHER_PROMPTS for language in languages}
    work = [(language, text) for language in languages for text in compose_prompts(language, counts[language])]
    speak_prompt = functools.partial(_speak_prompt, audio_dir=audio_dir)
    clips = list(parallel_iter(speak_prompt, work, workers=workers, description="speaking prompts"))
    recordings = [
        Utterance(clip, normalise(text) if language == "en" else None) for (language, text), clip in zip(work, clips)
    ]
    return Prompts(recordings, len(recordings), SPOKEN_LICENCE)


def _speak_prompt(language_and_text: tuple[str, str], audio_dir: Path) -> Clip:
    """Speak one prompt. Voice, speed and pitch follow from the text, so that every run makes the same file."""
    language, text = language_and_text
    digest = hashlib.sha1(text.encode("utf-8")).digest()
    voices = _SPOKEN_VOICES.get(language) or [language + variant for variant in _VARIANTS]

    def samples() -> np.ndarray:
        voice = voices[digest[0] % len(voices)]
        return speak(text, voice, words_per_minute=145 + digest[1] % 45, pitch=40 + digest[2] % 25)

    return make_clip(audio_dir, f"{language}/{digest.hex()[:12]}.flac", samples)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Make the corpus of the quickstart: telephone prompts in five languages, from Debian packages."
    )
    parser.add_argument("--dest", required=True, type=Path, help="folder for audio, manifests and labels")
    parser.add_argument(
        "--languages", nargs="+", metavar="CODE", help=f"default: {' '.join(VOICES)}; spoken: {' '.join(PROMPTS)}"
    )
    parser.add_argument("--packages", type=Path, help="folder of .deb files, or of unpacked ones")
    parser.add_argument("--held-out", type=int, default=60, help="English prompts in finetune/test (60)")
    parser.add_argument(
        "--valid", dest="num_valid", type=int, default=30, help="English prompts in finetune/valid (30)"
    )
    parser.add_argument("--min-seconds", type=float, default=0.5, help="shortest clip for pre-training (0.5)")
    parser.add_argument(
        "--source",
        choices=("auto", "apt", "synthesiser"),
        default="auto",
        help="apt: real prompts; synthesiser: espeak-ng; auto (default): apt where it works",
    )
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")
    args = parser.parse_args(argv)
    return command.run_script(lambda: prepare(**vars(args)), args.dest)


if __name__ == "__main__":
    command.as_script(main)
