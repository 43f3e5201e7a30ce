"""Transcripts of LibriSpeech's layout, and the audio files that they belong to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ..audio.scan import EXTENSIONS, find_audio
from ..writing.writer import Refusal

_TRANSCRIPTS = ".trans.txt"
_UTTERANCE_ID = re.compile(r"\d+-\d+-\d+")
_NOT_IN_TRANSCRIPTS = re.compile(r"[^A-Z' ]")


def read_parts(
    root: Path, folders: Iterable[Path], allow_outside_root: bool = False
) -> tuple[dict[str, str], list[Refusal]]:
    """Transcript of each audio file that has one, by its path relative to `root`; and what has none or is of no use."""
    texts: dict[str, str] = {}
    refusals: list[Refusal] = []
    first_paths: dict[str, str] = {}
    for folder in folders:
        audio, transcripts, refused = _list_part(root, folder, allow_outside_root)
        refusals += refused
        already_refused = {refusal.path for refusal in refused}
        named = set()
        for transcript in transcripts:
            for line in _lines(root, transcript):
                if isinstance(line, Refusal):
                    refusals.append(line)
                    continue
                utterance_id, text = line
                stem = f"{os.path.dirname(transcript)}/{utterance_id}"
                path = audio.get(stem, f"{stem}.flac")
                named.add(path)
                if path in already_refused:
                    continue
                problem = _problem(path, text, first_paths.get(utterance_id), transcript)
                if problem is None:
                    texts[path] = text
                else:
                    refusals.append(problem)
                first_paths.setdefault(utterance_id, path)
        refusals += [Refusal(path, "no transcript") for path in audio.values() if path not in named]
    return texts, refusals


def _list_part(root: Path, folder: Path, allow_outside_root: bool) -> tuple[dict[str, str], list[str], list[Refusal]]:
    """Audio of a part by its path without ending, its files of transcripts, and what cannot be used."""
    endings = (*EXTENSIONS, _TRANSCRIPTS)
    found, refused = find_audio(folder, endings, top=root, allow_outside_root=allow_outside_root)
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    refusals = [replace(refusal, path=prefix + refusal.path) for refusal in refused]
    audio: dict[str, str] = {}
    transcripts = []
    for path in (prefix + path for path in found):
        if path.lower().endswith(_TRANSCRIPTS):
            transcripts.append(path)
        elif (first := audio.setdefault(os.path.splitext(path)[0], path)) != path:
            refusals.append(Refusal(path, "duplicate utterance id", f"the first: {first}"))
    return audio, transcripts, refusals


def _lines(root: Path, transcript: str) -> Iterator[tuple[str, str] | Refusal]:
    """Utterance id and text of each line, or why it cannot be read."""
    try:
        lines = (root / transcript).read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        yield Refusal(transcript, "transcripts that are not UTF-8", str(error))
        return
    except OSError as error:
        yield Refusal(transcript, "transcripts that cannot be read", error.strerror or "")
        return
    for number, line in enumerate(lines, 1):
        utterance_id, *text = line.split() or [""]
        if _UTTERANCE_ID.fullmatch(utterance_id):
            yield utterance_id, " ".join(text)
        elif utterance_id:
            yield Refusal(transcript, "a line that does not begin with an utterance id", f"line {number}")


def _problem(path: str, text: str, first_path: str | None, transcript: str) -> Refusal | None:
    """Why an utterance is refused before its audio is looked at; `first_path`: of an earlier one of the same id."""
    if first_path == path:  # the audio is there, and kept: it is the second line that is refused
        return Refusal(transcript, "duplicate utterance id", f"two lines for {path}")
    if first_path is not None:
        return Refusal(path, "duplicate utterance id", f"the first: {first_path}")
    if not text:
        return Refusal(path, "empty transcript")
    if odd := _NOT_IN_TRANSCRIPTS.search(text):
        return Refusal(path, "transcript with more than A to Z and apostrophes", odd.group())
    return None
