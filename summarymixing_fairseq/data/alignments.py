"""Labels with times: phones and words of clips, from Praat's TextGrid, CTM, or our JSON."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..system.errors import InputError
from ..system.strict_json import to_json
from ..system.units import SAMPLE_RATE_HZ
from .manifest import Clip

TIERS = ("phones", "words")
# What aligners write where nobody speaks.
PAUSES = ("", "sil", "SIL", "sp", "spn", "<eps>")
# Times may be rounded to hundredths: an interval that ends by this much after the next one begins is cut there.
ROUNDING_SECONDS = 0.01
# By which labels may end before or after their clip: as far as fairseq lets units and audio differ.
SLACK_SECONDS = 0.1

# Praat reads strings, numbers and <flags> that stand alone. All else is for human readers, as are lines after "!".
_PRAAT = re.compile(r'"((?:[^"]|"")*)"(?!\S)|(?<!\S)!.*|(\S+)')
_DECIMAL = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_BINARY_TEXTGRID = b"ooBinaryFile"


@dataclass(frozen=True)
class Interval:
    """A label, its start and end in seconds, and how sure a recogniser is of it, 0 to 1, where one has heard it.

    Of a decoder start and end are in frames, until ``FrameTimes.timed``.
    """

    label: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True)
class Alignment:
    """The labels of a clip.

    Attributes:
        tiers: intervals by name of the tier (``TIERS``), in their order and without overlap. Pauses are left out.
        seconds: the clip is labelled up to here, pauses included.
        speaker, language, text: of the clip; "" where the file does not say.
    """

    tiers: Mapping[str, tuple[Interval, ...]]
    seconds: float
    speaker: str = ""
    language: str = ""
    text: str = ""


def read_alignments(labels: Path, clips: Sequence[Clip]) -> list[Alignment]:
    """Labels of the clips of a manifest: of a folder, or of one CTM file.

    A clip's labels are found by its name as ``summarymixing features`` gives it (folders, no extension), or by the last
    part of that where no other clip has it. A folder holds NAME.json or NAME.TextGrid; with both the JSON is read.

    Args:
        labels: a folder, or a file of phones that ends in .ctm.

    Returns:
        One for each clip, in their order.

    Raises:
        InputError: for a clip without labels or with labels of another length, or a file that is broken.
    """
    from .feature_files import feature_names  # imports torch

    names = feature_names(clips)
    num_of_last = Counter(Path(name).name for name in names)
    of_ctm = read_ctm(labels) if labels.suffix == ".ctm" else None
    if of_ctm is None and not labels.is_dir():
        raise InputError(f"labels {labels}: neither a folder nor a .ctm file")
    alignments = []
    for clip, name in zip(clips, names):
        last = Path(name).name
        tried = list(dict.fromkeys([name, last] if num_of_last[last] == 1 else [name]))
        if of_ctm is None:
            alignment = _read_of_folder(labels, tried)
        else:
            names_there = ("_".join(one.split()) for one in tried)  # as CTM, whose columns are spaced, has them
            alignment = next((of_ctm[one] for one in names_there if one in of_ctm), None)
        if alignment is None:
            raise InputError(f"{labels} has no labels of {clip.output_name}: leave the clip out, or align it")
        seconds = clip.num_samples / SAMPLE_RATE_HZ
        if abs(alignment.seconds - seconds) > SLACK_SECONDS:
            raise InputError(
                f"labels of {clip.output_name} in {labels} end at {alignment.seconds:.3f} s, the clip at "
                f"{seconds:.3f} s: more than {SLACK_SECONDS:g} s apart"
            )
        alignments.append(alignment)
    return alignments


def _read_of_folder(folder: Path, names: Sequence[str]) -> Alignment | None:
    for name in names:
        for ending, read in ((".json", read_json), (".TextGrid", read_textgrid)):
            path = folder / f"{name}{ending}"
            if os.path.exists(path):  # false for a name that is too long, where Path's own fails
                return read(path)
    return None


def read_ctm(path: Path) -> dict[str, Alignment]:
    """Phones by name of the clip. Lines are: clip, channel, start and duration in seconds, label (and confidence).

    Raises:
        InputError: for a file that cannot be read, a clip with labels of two channels, or a line that is none.
    """
    intervals: dict[str, list[Interval]] = {}
    channels: dict[str, str] = {}
    for number, line in enumerate(_text_of(path).split("\n"), 1):
        if not line.strip() or line.lstrip().startswith(";;"):
            continue
        fields = line.split()
        times = [_number(field) for field in fields[2:4]]
        if len(fields) not in (5, 6) or None in times:
            raise InputError(
                f"{path}, line {number}: {line.strip()[:80]!r} is not clip, channel, start, duration, label"
            )
        clip, channel, label = fields[0], fields[1], fields[4]
        if channels.setdefault(clip, channel) != channel:
            raise InputError(f"{path}, line {number}: {clip} has labels of channels {channels[clip]} and {channel}")
        start, duration = (time or 0.0 for time in times)
        intervals.setdefault(clip, []).append(Interval(label, start, start + duration))
    return {clip: _alignment(f"{path}: {clip}", {"phones": these}) for clip, these in intervals.items()}


def read_textgrid(path: Path) -> Alignment:
    """Tiers ``phones`` and ``words``, or ``SPEAKER - phones`` and so on, of a TextGrid; other tiers are left out.

    The long and the short form are read, in UTF-8 or UTF-16.

    Raises:
        InputError: for a file that cannot be read, is broken, has none of these tiers, or has those of two speakers.
    """
    grid = _Praat(path)
    grid.next_string("ooTextFile")
    grid.next_string("TextGrid")
    grid.next_number()
    grid.next_number()
    tiers: dict[str, list[Interval]] = {}
    speakers: dict[str, None] = {}
    names = []
    for _ in range(grid.next_count() if grid.next_flag() else 0):
        kind, name = grid.next_string("IntervalTier", "TextTier"), grid.next_string().strip()
        names.append(name)
        grid.next_number()
        grid.next_number()
        is_point = kind == "TextTier"
        intervals = []
        for _ in range(grid.next_count()):
            start = grid.next_number()
            end = start if is_point else grid.next_number()
            intervals.append(Interval(grid.next_string().strip(), start, end))
        speaker, _, tier = name.rpartition(" - ")
        if tier not in TIERS:
            continue
        if is_point:
            raise InputError(f"{path}: tier {name!r} holds points, where intervals are needed")
        speakers[speaker] = None
        if len(speakers) > 1:
            raise InputError(f"{path} has tiers of {' and '.join(map(repr, speakers))}: leave one speaker in it")
        if tier in tiers:
            raise InputError(f"{path} has two tiers {name!r}: rename one")
        tiers[tier] = intervals
    if not tiers:
        raise InputError(f"{path} has no tier {' or '.join(TIERS)}, but {', '.join(map(repr, names)) or 'none at all'}")
    return _alignment(str(path), tiers, speaker=next(iter(speakers)))


class _Praat:
    """What a text file of Praat says, one after the other. Line numbers count from 1."""

    def __init__(self, path: Path):
        self._path = path
        self._text = _text_of(path)
        self._found = self._tokens()
        self._position = 0

    def _tokens(self) -> Iterator[str | float]:
        """Strings with their quotation mark before them, flags, and numbers."""
        for match in _PRAAT.finditer(self._text):
            string, word = match.groups()
            self._position = match.start()
            if string is not None:
                yield '"' + string.replace('""', '"')
            elif word is not None:
                number = _number(word)
                if number is not None:
                    yield number
                elif word.startswith('"'):
                    raise self._fail("a closing quotation mark")
                elif word.startswith("<"):
                    yield word

    def _fail(self, needed: str) -> InputError:
        line = self._text.count("\n", 0, self._position) + 1
        return InputError(f"{self._path}, line {line}: no TextGrid: {needed} is needed there")

    def _next(self, needed: str) -> str | float:
        try:
            return next(self._found)
        except StopIteration:
            self._position = len(self._text.rstrip())
            raise self._fail(needed) from None

    def next_string(self, *allowed: str) -> str:
        """A string; one of those ``allowed`` if there are any."""
        needed = " or ".join(map(repr, allowed)) or "a text in quotation marks"
        token = self._next(needed)
        if not isinstance(token, str) or not token.startswith('"') or (allowed and token[1:] not in allowed):
            raise self._fail(needed)
        return token[1:]

    def next_number(self) -> float:
        token = self._next("a number")
        if not isinstance(token, float):
            raise self._fail("a number")
        return token

    def next_count(self) -> int:
        number = self.next_number()
        if number < 0 or number != int(number):
            raise self._fail("a count")
        return int(number)

    def next_flag(self) -> bool:
        """Whether there are tiers."""
        flag = self._next("<exists>")
        if flag not in ("<exists>", "<absent>"):
            raise self._fail("<exists>")
        return flag == "<exists>"


def read_json(path: Path) -> Alignment:
    """What ``as_json`` has made.

    Raises:
        InputError: for a file that cannot be read or is broken.
    """
    try:
        content = json.loads(_text_of(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: no JSON: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: no JSON: {error}") from None
    try:
        tiers = {name: [_interval(*one) for one in these] for name, these in content["tiers"].items() if name in TIERS}
        seconds = _time(content["seconds"])
        others = {name: content.get(name, "") for name in ("speaker", "language", "text")}
        if not all(isinstance(value, str) for value in others.values()):
            raise TypeError
    except (AttributeError, KeyError, OverflowError, TypeError):
        raise InputError(
            f"{path}: not labels of a clip: seconds, and tiers of [start, end, label], are needed"
        ) from None
    if not tiers:
        raise InputError(f"{path} has no tier {' or '.join(TIERS)}")
    return _alignment(str(path), tiers, seconds, **others)


def _interval(start: Any, end: Any, label: Any) -> Interval:
    if not isinstance(label, str):
        raise TypeError
    return Interval(label, _time(start), _time(end))


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def as_ctm(name: str, intervals: Iterable[Interval]) -> str:
    """Lines of a CTM file: clip, channel 1, start and duration in seconds, label, and confidence where there is one.

    A space in a name or label becomes "_": spaces part the fields.
    """
    lines = []
    for one in intervals:
        clip, label = ("_".join(text.split()) for text in (name, one.label))
        confidence = "" if one.confidence is None else f" {one.confidence:.3f}"
        lines.append(f"{clip} 1 {one.start:.3f} {one.end - one.start:.3f} {label}{confidence}\n")
    return "".join(lines)


def as_json(alignment: Alignment) -> str:
    """An alignment but for its confidences, as ``read_json`` reads it."""
    tiers = {name: [[one.start, one.end, one.label] for one in these] for name, these in alignment.tiers.items()}
    others = {"speaker": alignment.speaker, "language": alignment.language, "text": alignment.text}
    return to_json({"seconds": alignment.seconds, **others, "tiers": tiers}) + "\n"


def as_textgrid(alignment: Alignment) -> str:
    """The tiers of an alignment as Praat writes them. A TextGrid has no place for speaker, language and text."""
    seconds = alignment.seconds
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {seconds!r}"]
    lines += ["tiers? <exists>", f"size = {len(alignment.tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(alignment.tiers.items(), 1):
        filled = _with_pauses(intervals, seconds)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {seconds!r}", f"        intervals: size = {len(filled)}"]
        for place, one in enumerate(filled, 1):
            label = one.label.replace('"', '""')
            lines += [f"        intervals [{place}]:", f"            xmin = {one.start!r}"]
            lines += [f"            xmax = {one.end!r}", f'            text = "{label}"']
    return "\n".join(lines) + "\n"


def _with_pauses(intervals: Sequence[Interval], seconds: float) -> list[Interval]:
    """Intervals from 0 to the end without a gap, as Praat needs them."""
    filled, before = [], 0.0
    for one in (*intervals, Interval("", seconds, seconds)):
        if one.start > before:
            filled.append(Interval("", before, one.start))
        if one.end > one.start:
            filled.append(one)
        before = one.end
    return filled


def _alignment(
    source: str, tiers: Mapping[str, Iterable[Interval]], seconds: float | None = None, **others: str
) -> Alignment:
    """Check what was read: pauses and intervals of no length are left out.

    Args:
        source: for errors; seconds: None: the end of the tier that ends first.
    """
    ends = []
    checked = {}
    for tier, intervals in tiers.items():
        kept: list[Interval] = []
        end = 0.0
        for one in intervals:
            shown = f"{source}: {tier} {one.label[:40]!r} from {one.start:g} to {one.end:g} s"
            if not (math.isfinite(one.end) and 0 <= one.start <= one.end):
                raise InputError(f"{shown} is no interval: times rise from 0")
            if one.start < end - ROUNDING_SECONDS - 1e-9 or (kept and one.start < kept[-1].start):
                raise InputError(f"{shown} begins before the interval before it ends, at {end:g} s")
            if kept and kept[-1].end > one.start:
                kept[-1] = replace(kept[-1], end=one.start)
            if one.label not in PAUSES and one.end > one.start:
                kept.append(one)
            end = max(end, one.end)
        checked[tier] = tuple(one for one in kept if one.end > one.start)
        ends.append(end)
    if seconds is None:
        seconds = min(ends)
    elif not (math.isfinite(seconds) and seconds >= max(ends)):
        raise InputError(f"{source}: labels end at {max(ends):g} s, after the clip's {seconds:g} seconds")
    return Alignment(checked, seconds, **others)


def _number(text: str) -> float | None:
    return float(text) if _DECIMAL.fullmatch(text) else None


def _text_of(path: Path) -> str:
    """Text in UTF-8, or in UTF-16 with a mark of its byte order, with "\\n" at the ends of lines."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe may never end
            raise OSError("no file")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"labels {path} cannot be read: {error.strerror or error}") from None
    if content.startswith(_BINARY_TEXTGRID):
        raise InputError(f"{path} is a binary TextGrid: save it as text in Praat")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: neither UTF-8 nor UTF-16 text") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
