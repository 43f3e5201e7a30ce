"""Transcripts as files: JSON lines, SRT, WebVTT, CTM and TextGrid."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..system.errors import printable
from ..system.strict_json import to_json
from .alignments import Alignment, Interval, as_ctm, as_textgrid
from .transcripts import Transcript

# Formats with a file for each clip, and its extension.
EXTENSIONS = {"srt": "srt", "vtt": "vtt", "textgrid": "TextGrid"}
# Formats with one file for all clips.
FILE_NAMES = {"json": "hypo.jsonl", "ctm": "hypo.ctm"}


def file_names(form: str, names: Iterable[str]) -> list[str]:
    """Files of a format for clips of these names, which have no extension."""
    return [FILE_NAMES[form]] if form in FILE_NAMES else [f"{name}.{EXTENSIONS[form]}" for name in names]


def files_of(form: str, transcripts: Mapping[str, Transcript]) -> dict[str, str]:
    """Contents of ``file_names``: what a model's symbols hold is escaped where it would steer a terminal.

    Args:
        form: a key of ``EXTENSIONS`` or ``FILE_NAMES``; transcripts: by name of the clip.
    """
    write = {"json": _as_json_line, "ctm": _as_ctm, "srt": _as_srt, "vtt": _as_vtt, "textgrid": _as_textgrid}[form]
    contents = [write(printable(name), _printable(transcript)) for name, transcript in transcripts.items()]
    names = file_names(form, transcripts)
    return {names[0]: "".join(contents)} if form in FILE_NAMES else dict(zip(names, contents))


def _printable(transcript: Transcript) -> Transcript:
    hypotheses = [
        replace(one, words=tuple(replace(word, label=printable(word.label)) for word in one.words))
        for one in transcript.hypotheses
    ]
    return replace(transcript, hypotheses=tuple(hypotheses))


def word_as_json(word: Interval) -> dict[str, Any]:
    """A word of a transcript for JSON: times in seconds, and its confidence."""
    return {"text": word.label, "start": word.start, "end": word.end, "confidence": word.confidence}


def _as_json_line(name: str, transcript: Transcript) -> str:
    content: dict[str, Any] = {"name": name, "seconds": transcript.seconds, "text": transcript.text}
    content |= {"unit": transcript.unit, "words": [*map(word_as_json, transcript.words)]}
    content["segments"] = [{"text": one.label, "start": one.start, "end": one.end} for one in transcript.segments]
    content["hypotheses"] = [{"text": one.text, "score": one.score} for one in transcript.hypotheses]
    return to_json(content) + "\n"


def _as_ctm(name: str, transcript: Transcript) -> str:
    return as_ctm(name, transcript.words)


def _as_textgrid(name: str, transcript: Transcript) -> str:
    return as_textgrid(Alignment({f"{transcript.unit}s": transcript.words}, transcript.seconds))


def _as_srt(name: str, transcript: Transcript) -> str:
    cues = [
        f"{number}\n{_clock(one.start, ',')} --> {_clock(one.end, ',')}\n{one.label}\n\n"
        for number, one in enumerate(transcript.segments, 1)
    ]
    return "".join(cues)


def _as_vtt(name: str, transcript: Transcript) -> str:
    cues = [
        f"\n{_clock(one.start, '.')} --> {_clock(one.end, '.')}\n{html.escape(one.label, quote=False)}\n"
        for one in transcript.segments
    ]
    return "".join(["WEBVTT\n", *cues])


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
