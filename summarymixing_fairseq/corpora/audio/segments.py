"""Long recordings as segments of speech: parts of a file that a manifest names, or that are cut to files.

Segments are contiguous: they span the short pauses between the stretches of speech that they join.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ..writing.writer import Clip, Refusal

# Stretches of speech further apart than this are not joined.
MAX_PAUSE_SECONDS = 2.0

Interval = tuple[float, float]


@dataclass(frozen=True)
class SegmentRules:
    """Seconds of a segment: at most `target_seconds`, and at least `min_seconds`; `cut_dir`: write each to a file."""

    target_seconds: float = 30.0
    min_seconds: float = 10.0
    cut_dir: Path | None = None

    def check(self) -> None:
        """Raise InputError for a value that makes no sense, by the name of its option."""
        if not (math.isfinite(self.target_seconds) and self.target_seconds > 0):
            raise InputError(f"--target-seconds {self.target_seconds:g} must be positive")
        if not 0 <= self.min_seconds <= self.target_seconds:
            raise InputError(
                f"--min-segment-seconds {self.min_seconds:g} must be between 0 and --target-seconds "
                f"{self.target_seconds:g}"
            )


def add_segment_arguments(parser: argparse.ArgumentParser) -> None:
    """Lengths of segments, and where they go."""
    parser.add_argument("--target-seconds", type=float, default=30.0, help="longest segment (30)")
    parser.add_argument("--min-segment-seconds", type=float, default=10.0, help="leave shorter segments out (10)")
    parser.add_argument(
        "--cut", type=Path, metavar="DIR", help="write each segment to a flac file below DIR, at the manifest's rate"
    )


def segment_rules_of(args: argparse.Namespace) -> SegmentRules:
    """The rules that the options ask for.

    Raises:
        InputError: for a value that makes no sense.
    """
    rules = SegmentRules(args.target_seconds, args.min_segment_seconds, args.cut)
    rules.check()
    return rules


def join(speech: Iterable[Interval], target_seconds: float) -> list[Interval]:
    """Stretches of speech, [start, end] in seconds, joined to segments of up to `target_seconds`.

    A segment ends where the next stretch would make it too long, or begins more than `MAX_PAUSE_SECONDS` later. A
    stretch that is too long itself is parted equally.
    """
    joined: list[Interval] = []
    for start, end in sorted(speech):
        if joined:
            last_start, last_end = joined[-1]
            start = max(start, last_end)  # stretches that overlap are told once
            if start >= end:
                continue
            if end - last_start <= target_seconds and start - last_end <= MAX_PAUSE_SECONDS:
                joined[-1] = (last_start, end)
                continue
        if not end > start:
            continue
        num_parts = max(1, math.ceil((end - start) / target_seconds))
        edges = [start + (end - start) * part / num_parts for part in range(num_parts + 1)]
        joined += zip(edges, edges[1:])
    return joined


def segments_of(
    clip: Clip, speech: Sequence[Interval], rules: SegmentRules, sample_rate_hz: int
) -> tuple[list[Clip], list[Refusal]]:
    """Segments of one file, with offsets in samples, and refusals: of the file without speech, of short segments."""
    num_seconds = clip.num_samples / sample_rate_hz
    inside = [(max(0.0, start), min(end, num_seconds)) for start, end in speech]
    joined = join(inside, rules.target_seconds)
    if not joined:
        return [], [Refusal(clip.path, "no speech found")]
    segments, refusals = [], []
    for start, end in joined:
        offset = round(start * sample_rate_hz)
        num_samples = min(round(end * sample_rate_hz), clip.num_samples) - offset
        if num_samples < rules.min_seconds * sample_rate_hz:
            reason = f"segment shorter than {rules.min_seconds:g} s"
            refusals.append(Refusal(clip.path, reason, f"{start:.2f} to {end:.2f} s"))
        else:
            segments.append(replace(clip, num_samples=num_samples, offset=offset))
    return segments, refusals


def cut_files(
    root: Path, segments: Sequence[Clip], cut_dir: Path, *, sample_rate_hz: int, workers: int | None
) -> tuple[list[Clip], list[Refusal]]:
    """Write segments to `cut_dir`/<path without its ending>/<first sample>.flac; clips relative to `cut_dir`.

    A file that an earlier run has written is kept.
    """
    read = _reader()
    cut = functools.partial(
        _cut, root=os.path.abspath(root), cut_dir=cut_dir, sample_rate_hz=sample_rate_hz, read_segment=read
    )
    results = list(parallel_iter(cut, segments, workers=workers, description="cutting segments"))
    return (
        [result for result in results if isinstance(result, Clip)],
        [result for result in results if isinstance(result, Refusal)],
    )


def _reader() -> Callable:
    """The package's own reader, so that a file and the row it was cut from hold the same samples."""
    try:
        from ...data.audio import read_segment
    except ImportError as error:
        raise InputError(f"cutting needs the package ({error}): pip install -e . in its folder") from None
    return read_segment


def _cut(segment: Clip, root: str, cut_dir: Path, sample_rate_hz: int, read_segment: Callable) -> Clip | Refusal:
    from .flac_file import existing_num_samples, write_flac

    path = f"{os.path.splitext(segment.path)[0]}/{segment.offset or 0:010}.flac"
    target = cut_dir / path
    if existing_num_samples(target, sample_rate_hz) != segment.num_samples:
        try:
            samples = read_segment(
                Path(root, segment.path), segment.offset or 0, segment.num_samples, sample_rate_hz=sample_rate_hz
            )
        except ValueError as error:
            return Refusal(segment.path, "a segment cannot be read", str(error))
        write_flac(target, samples, sample_rate_hz)
    return Clip(path, segment.num_samples)
