"""The quick-start corpus: telephone voice prompts of the Asterisk exchange, from Debian's packages.

    python examples/corpora/asterisk.py --dest DIR

About 2,800 clips, two hours, in English, Spanish, French, Italian and Russian, one speaker for each
language; CC BY-SA 3.0 and, for Russian, CC BY 3.0. All languages are for pre-training; English, which has
transcripts, is for fine-tuning too. Where the packages cannot be had, a corpus of the same layout is spoken
by espeak-ng instead.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from asterisk_packages import (
    VOICES,
    PackagesUnavailable,
    find_recordings,
    licence_text,
    package_roots,
    read_transcripts,
)
from prompt_corpus import SAMPLE_RATE_HZ, Recording, write_corpus
from spoken_corpus import LANGUAGES as SPOKEN_LANGUAGES
from spoken_corpus import LICENCE as SPOKEN_LICENCE
from spoken_corpus import speak_corpus

from summarymixing_fairseq.corpora.audio.flac_file import existing_num_samples, write_flac
from summarymixing_fairseq.corpora.text.english_text import TextRefused, normalise, without_brackets
from summarymixing_fairseq.corpora.writing.options import positive_int
from summarymixing_fairseq.corpora.writing.writer import Clip, Refusal
from summarymixing_fairseq.system import command
from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.system.parallel import parallel_map

# Tones and noises, by their English names: not every language's transcripts say what they are.
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
_SAMPLES_PER_BYTE = 2


def prepare(
    dest: str | os.PathLike[str],
    *,
    languages: Sequence[str] | None = None,
    packages: str | os.PathLike[str] | None = None,
    held_out: int = 60,
    num_valid: int = 30,
    min_seconds: float = 0.5,
    source: str = "auto",
    force: bool = False,
    workers: int | None = None,
) -> str:
    """Make the corpus in `dest`; returns the summary to print.

    `held_out` and `num_valid` English texts become finetune/test and finetune/valid; `min_seconds` is the
    shortest clip for pre-training. `source` is apt, synthesiser, or auto (apt where that works);
    `packages` is a folder of .deb files, or of unpacked ones, to use in place of apt-get.
    """
    dest = Path(dest)
    _check_options(held_out, num_valid, min_seconds, source, languages, packages)
    notes = []
    roots: list[Path] = []
    if source != "synthesiser":
        chosen = tuple(languages or VOICES)
        try:
            _check_languages(chosen, VOICES, "Debian has no prompts in")
            roots = package_roots(chosen, dest / "packages", Path(packages) if packages else None)
        except PackagesUnavailable as error:
            if source == "apt" or packages:
                raise
            source = "synthesiser"
            notes.append(f"not Debian's recordings but espeak-ng speaks: {error}")
            print(notes[0], file=sys.stderr)
    if source == "synthesiser":
        chosen = tuple(languages or SPOKEN_LANGUAGES)
        _check_languages(chosen, SPOKEN_LANGUAGES, "there are no sentences to speak in")
        recordings, refusals = speak_corpus(dest / "audio", chosen, workers=workers), []
        num_found, licences = len(recordings), SPOKEN_LICENCE
    else:
        recordings, refusals, num_found, transcript_notes = _decode_packages(roots, chosen, dest, workers)
        notes += transcript_notes
        licences = licence_text(chosen)
        notes.append("recordings: CC BY-SA 3.0 (ru: CC BY 3.0), see " + str(dest / "LICENSES.txt"))
    notes = [_length_note(recordings, language) for language in chosen] + notes
    return write_corpus(
        dest,
        recordings,
        refusals,
        num_found=num_found,
        num_test=held_out,
        num_valid=num_valid,
        min_seconds=min_seconds,
        licences=licences,
        force=force,
        notes=notes,
    )


def _check_options(
    held_out: int,
    num_valid: int,
    min_seconds: float,
    source: str,
    languages: Sequence[str] | None,
    packages: str | os.PathLike[str] | None,
) -> None:
    for option, number in (("--held-out", held_out), ("--valid", num_valid)):
        if number < 1:
            raise InputError(f"{option} {number} must be 1 or more")
    if not (math.isfinite(min_seconds) and min_seconds >= 0):
        raise InputError(f"--min-seconds {min_seconds:g} must be 0 or more")
    if source not in ("auto", "apt", "synthesiser"):
        raise InputError(f"--source {source} must be auto, apt or synthesiser")
    if source == "synthesiser" and packages:
        raise InputError("--packages is of no use with --source synthesiser: leave one out")
    if languages is not None and "en" not in languages:
        raise InputError("--languages must include en, which fine-tuning learns from")
    if languages is not None and len(set(languages)) < len(languages):
        raise InputError("--languages names a language twice")


def _check_languages(languages: Sequence[str], known: Sequence[str] | dict, what: str) -> None:
    for language in languages:
        if language not in known:
            raise InputError(f"{what} '{language}': choose --languages from {' '.join(known)}")


def _length_note(recordings: Sequence[Recording], language: str) -> str:
    lengths = [one.clip.num_samples for one in recordings if one.language == language]
    return f"audio/{language}: {len(lengths):,} clips, {sum(lengths) / SAMPLE_RATE_HZ / 60:.1f} min"


def _decode_packages(
    roots: Sequence[Path], languages: Sequence[str], dest: Path, workers: int | None
) -> tuple[list[Recording], list[Refusal], int, list[str]]:
    """Decode all speech to DEST/audio; recordings, refusals, number of files found, and notes."""
    try:
        import G722  # noqa: F401
    except ImportError:
        raise InputError("the wheel G722 is missing: pip install 'summarymixing-fairseq[quickstart]'") from None
    work: list[tuple[str, Path, Path]] = []
    texts: dict[str, str | None] = {}
    refusals: list[Refusal] = []
    notes: list[str] = []
    num_found = 0
    for language in languages:
        files, transcripts = find_recordings(roots, language), read_transcripts(roots, language)
        if language == "en" and not transcripts:
            raise InputError("core-sounds-en.txt.gz is not in the packages: fine-tuning needs it")
        num_found += len(files)
        missing = 0
        for name, path in files.items():
            text = transcripts.get(name)
            problem = _speech_problem(name, text)
            if problem:
                refusals.append(Refusal(f"{language}/{name}.g722", problem))
                continue
            missing += text is None
            clip_path = f"{language}/{name}.flac"
            work.append((clip_path, path, dest / "audio" / clip_path))
            texts[clip_path] = text if language == "en" else None
        unheard = len(transcripts.keys() - files.keys())
        if missing or unheard:
            notes.append(f"{language}: without transcript {missing} clips, without clip {unheard} transcripts")
    decoded = parallel_map(_decode, work, workers=workers, description="decoding G.722")
    recordings = []
    for result in decoded:
        if isinstance(result, Refusal):
            refusals.append(result)
            continue
        language = result.path.split("/")[0]
        text, problem = _learnable(texts[result.path])
        if problem:
            refusals.append(Refusal(result.path, f"{problem} (left out of fine-tuning only)"))
        recordings.append(Recording(result, language, text))
    return recordings, refusals, num_found, notes


def _speech_problem(name: str, text: str | None) -> str | None:
    """Why a recording is left out of everything, or None where it is speech."""
    if name.startswith("silence/"):
        return "silence"
    # "[sound of monkeys]" is a stage direction; in "at [@]" the bracket explains what was said.
    if name in NON_SPEECH or (text is not None and not without_brackets(text)):
        return "tone or noise"
    return None


def _learnable(text: str | None) -> tuple[str | None, str | None]:
    """Normalised text of an English recording, or why there is none; (None, None) for other languages."""
    if text is None:
        return None, None
    try:
        return normalise(text), None
    except TextRefused as refused:
        return None, str(refused)


def _decode(job: tuple[str, Path, Path]) -> Clip | Refusal:
    """Decode one raw G.722 file to 16-bit FLAC at 16 kHz, unless an earlier run has done it."""
    import numpy as np
    from G722 import G722

    clip_path, source, target = job
    source_path = clip_path[: -len(".flac")] + ".g722"
    try:
        encoded = source.read_bytes()
    except OSError as error:
        return Refusal(source_path, "unreadable", error.strerror or "")
    if not encoded:
        return Refusal(source_path, "empty file")
    num_samples = len(encoded) * _SAMPLES_PER_BYTE
    if existing_num_samples(target, SAMPLE_RATE_HZ) != num_samples:
        samples = np.asarray(G722(SAMPLE_RATE_HZ, 64000).decode(encoded), dtype=np.int16)
        num_samples = len(samples)
        write_flac(target, samples, SAMPLE_RATE_HZ)
    return Clip(clip_path, num_samples)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Make the quick-start corpus: telephone prompts in five languages, from Debian packages."
    )
    parser.add_argument("--dest", required=True, type=Path, help="folder for audio, manifests and labels")
    parser.add_argument(
        "--languages",
        nargs="+",
        metavar="CODE",
        help=f"default: {' '.join(VOICES)}; spoken: {' '.join(SPOKEN_LANGUAGES)}",
    )
    parser.add_argument("--packages", type=Path, help="folder of .deb files, or of unpacked ones")
    parser.add_argument("--held-out", type=int, default=60, help="English prompts in finetune/test (60)")
    parser.add_argument("--valid", type=int, default=30, help="English prompts in finetune/valid (30)")
    parser.add_argument("--min-seconds", type=float, default=0.5, help="shortest clip for pre-training (0.5)")
    parser.add_argument("--source", choices=("auto", "apt", "synthesiser"), default="auto")
    parser.add_argument("--workers", type=positive_int, help="processes (default: one for each CPU)")
    parser.add_argument("--force", action="store_true", help="replace manifests that differ")
    args = parser.parse_args(argv)
    return command.run_script(
        lambda: prepare(
            args.dest,
            languages=args.languages,
            packages=args.packages,
            held_out=args.held_out,
            num_valid=args.valid,
            min_seconds=args.min_seconds,
            source=args.source,
            force=args.force,
            workers=args.workers,
        ),
        args.dest,
    )


if __name__ == "__main__":
    command.as_script(main)
