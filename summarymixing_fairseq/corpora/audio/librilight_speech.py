"""Segments of speech of Libri-Light's chapters: by the voice activity of their sidecars, or by a model."""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...system.parallel import parallel_iter
from ..writing.writer import Clip, Refusal
from .segments import Interval, SegmentRules, segments_of

SIDECAR = ".json"
# Stretches of speech are counted in frames of 80 ms: the last may reach beyond the end. By more than this, the sidecar
# is that of another file.
_TOLERANCE_SECONDS = 1.0
# Files whose stretches of speech are held at a time where a model finds them.
_FILES_AT_A_TIME = 1024

# Segments of one file, and how many more were too short; or why it has none.
_Segmented = tuple[list[Clip], int]


def segment_chapters(
    root: Path, clips: Sequence[Clip], rules: SegmentRules, sample_rate_hz: int, vad: bool, workers: int | None
) -> tuple[list[Clip], list[Refusal], str]:
    """Segments of all files in order, files without one, and a note on what was left out of the others."""
    if vad:
        results = _segments_by_model(root, clips, rules, sample_rate_hz, workers)
    else:
        read = functools.partial(
            _segments_by_sidecar, root=os.path.abspath(root), rules=rules, sample_rate_hz=sample_rate_hz
        )
        results = parallel_iter(read, clips, workers=workers, description="reading sidecars")
    segments: list[Clip] = []
    refusals: list[Refusal] = []
    num_short = 0
    for result in results:
        if isinstance(result, Refusal):
            refusals.append(result)
        else:
            segments += result[0]
            num_short += result[1]
    hours = sum(clip.num_samples for clip in clips) / sample_rate_hz / 3600
    note = (
        f"segments are of {len(clips) - len(refusals):,} files, those looked at have {hours:.2f} h; "
        f"{num_short:,} more segments are shorter than {rules.min_seconds:g} s"
    )
    return segments, refusals, note


def _segments_by_model(
    root: Path, clips: Sequence[Clip], rules: SegmentRules, sample_rate_hz: int, workers: int | None
) -> Iterator[_Segmented | Refusal]:
    from .voice_activity import find_speech

    for start in range(0, len(clips), _FILES_AT_A_TIME):
        these = clips[start : start + _FILES_AT_A_TIME]
        for clip, speech in zip(these, find_speech(root, these, sample_rate_hz=sample_rate_hz, workers=workers)):
            yield speech if isinstance(speech, Refusal) else _segments(clip, speech, rules, sample_rate_hz)


def _segments_by_sidecar(clip: Clip, root: str, rules: SegmentRules, sample_rate_hz: int) -> _Segmented | Refusal:
    speech = _voice_activity(os.path.join(root, os.path.splitext(clip.path)[0] + SIDECAR), clip, sample_rate_hz)
    return speech if isinstance(speech, Refusal) else _segments(clip, speech, rules, sample_rate_hz)


def _segments(clip: Clip, speech: Sequence[Interval], rules: SegmentRules, sample_rate_hz: int) -> _Segmented | Refusal:
    segments, refusals = segments_of(clip, speech, rules, sample_rate_hz)
    return (segments, len(refusals)) if segments else refusals[0]


def _voice_activity(sidecar: str, clip: Clip, sample_rate_hz: int) -> list[Interval] | Refusal:
    """Stretches of speech, [start, end] in seconds, that a sidecar tells of; or why it is of no use."""
    try:
        with open(sidecar, encoding="utf-8-sig") as file:
            content = json.load(file)
    except FileNotFoundError:
        return Refusal(clip.path, "no sidecar (--vad finds speech without)")
    except (ValueError, RecursionError) as error:
        return Refusal(clip.path, "sidecar that is not JSON", str(error))
    except OSError as error:
        return Refusal(clip.path, "sidecar that cannot be read", error.strerror or "")
    speech = content.get("voice_activity") if isinstance(content, dict) else None
    if speech is None:
        return Refusal(clip.path, "sidecar without voice_activity")
    if not isinstance(speech, list):
        return Refusal(clip.path, "voice_activity that is no list of [start, end] in seconds", type(speech).__name__)
    latest = clip.num_samples / sample_rate_hz + _TOLERANCE_SECONDS
    for pair in speech:
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(_is_number, pair)) and pair[0] <= pair[1]):
            return Refusal(clip.path, "voice_activity that is no list of [start, end] in seconds", f"{pair!r:.40}")
        if pair[0] < -_TOLERANCE_SECONDS or pair[1] > latest:
            return Refusal(clip.path, "voice_activity outside the file (of another one?)", f"{pair!r:.40}")
    return [(float(start), float(end)) for start, end in speech]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -math.inf < value < math.inf
