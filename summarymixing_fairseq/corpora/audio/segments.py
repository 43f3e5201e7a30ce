"""Long recordings as segments of speech, which rows of a manifest name or which are cut to files.

Where speech is, the corpus says or silero-vad's model (https://github.com/snakers4/silero-vad, MIT) finds. A segment is
one piece of the recording: it includes the short pauses between the stretches of speech that it joins.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ...system.units import SAMPLE_RATE_HZ
from ..writing.options import ManifestOptions
from ..writing.rows import Clip, Refusal
from .audio_file import existing_num_samples, write_flac
from .scan import clips_of

if TYPE_CHECKING:
    from torch.nn import Module

# Stretches of speech further apart than this are not joined.
MAX_PAUSE_SECONDS = 2.0

# Start and end, in seconds.
Interval = tuple[float, float]
# Of each file in turn, stretches of speech, or why they could not be told.
Speech = Iterable[Sequence[Interval] | Refusal]


def find_speech(root: Path, clips: Sequence[Clip], options: ManifestOptions) -> Iterator[list[Interval] | Refusal]:
    """Stretches of speech of each clip, [start, end] in seconds from its start; or why it cannot be decoded.

    Raises:
        InputError: where silero-vad is not installed.
    """
    if find_spec("silero_vad") is None:
        raise InputError("silero-vad is missing: pip install 'summarymixing-fairseq[vad]'")
    find = functools.partial(_find, root=os.path.abspath(root))
    return parallel_iter(find, clips, workers=options.workers, description="finding speech", items_per_worker=2)


@functools.cache
def _model() -> Module:
    """The model of this process. Importing silero-vad sets torch to one thread, which suits one process a CPU."""
    from silero_vad import load_silero_vad

    return load_silero_vad()


def _find(clip: Clip, root: str) -> list[Interval] | Refusal:
    import torch
    from silero_vad import get_speech_timestamps

    from ...data.audio import read_segment

    try:
        samples = read_segment(Path(root, clip.path), 0, clip.num_samples)
    except InputError as error:
        return Refusal(clip.path, "cannot be decoded", str(error))
    with torch.no_grad():
        found = get_speech_timestamps(torch.from_numpy(samples), _model(), sampling_rate=SAMPLE_RATE_HZ)
    return [(one["start"] / SAMPLE_RATE_HZ, one["end"] / SAMPLE_RATE_HZ) for one in found]


def join(speech: Iterable[Interval], target_seconds: float) -> list[Interval]:
    """Stretches of speech, [start, end] in seconds, joined to segments of up to `target_seconds`.

    A segment ends where the next stretch would make it too long or begins more than `MAX_PAUSE_SECONDS` later. A
    stretch that is too long itself is cut into equal parts.
    """
    joined: list[Interval] = []
    for start, end in sorted(speech):
        if joined:
            last_start, last_end = joined[-1]
            start = max(start, last_end)  # stretches may overlap
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


def segment_files(
    clips: Sequence[Clip], speech: Speech, options: ManifestOptions, refusals: list[Refusal], notes: list[str]
) -> list[Clip]:
    """Segments of files, with offsets in samples, by the speech of each; a note counts them and those too short.

    A file without a segment, or whose speech could not be told, is added to `refusals`.
    """
    min_seconds = options.segments.min_segment_seconds
    shortest = f"{min_seconds:g} s (--min-segment-seconds)"
    segments: list[Clip] = []
    num_files = num_short = 0
    for intervals, clip in zip(speech, clips):
        if isinstance(intervals, Refusal):
            refusals.append(intervals)
            continue
        num_seconds = clip.num_samples / SAMPLE_RATE_HZ
        inside = [(max(0.0, start), min(end, num_seconds)) for start, end in intervals]
        joined = join(inside, options.segments.target_seconds)
        spans = [(round(start * SAMPLE_RATE_HZ), round(end * SAMPLE_RATE_HZ)) for start, end in joined]
        parts = [replace(clip, num_samples=min(end, clip.num_samples) - start, offset=start) for start, end in spans]
        kept = [part for part in parts if part.num_samples >= min_seconds * SAMPLE_RATE_HZ]
        if kept:
            segments += kept
            num_files += 1
            num_short += len(parts) - len(kept)
        else:
            refusals.append(Refusal(clip.path, f"segments shorter than {shortest}" if parts else "no speech found"))
    hours = sum(clip.num_samples for clip in clips) / SAMPLE_RATE_HZ / 3600
    notes.append(
        f"segments are of {num_files:,} files, those looked at have {hours:.2f} h; "
        f"{num_short:,} more segments are shorter than {shortest}"
    )
    return segments


def check_cut_dir(cut_dir: Path | None, folder: Path) -> None:
    """Raises InputError where segments would be cut to a folder below the one that audio is looked for in.

    The next run would take them for recordings.
    """
    if cut_dir is not None and Path(os.path.realpath(cut_dir)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"--cut {cut_dir} lies in {folder}: give a folder beside it")


def cut_files(
    root: Path, segments: Sequence[Clip], cut_dir: Path, options: ManifestOptions, refusals: list[Refusal]
) -> list[Clip]:
    """Write segments to `cut_dir`/<path without its ending>/<first sample>.flac; clips relative to `cut_dir`.

    A file that an earlier run has written is kept, unless its recording is newer. A recording is refused once, whatever
    number of its segments cannot be read.

    Raises:
        InputError: if two files would be cut to one folder.
    """
    source_of_folder: dict[str, str] = {}
    for segment in segments:
        source = source_of_folder.setdefault(_cut_folder(segment), segment.path)
        if source != segment.path:
            raise InputError(f"{source} and {segment.path} would be cut to one folder: rename one")
    cut = functools.partial(_cut, root=os.path.abspath(root), cut_dir=cut_dir)
    unusable: list[Refusal] = []
    clips = clips_of(parallel_iter(cut, segments, workers=options.workers, description="cutting segments"), unusable)
    refusals += {one.path: one for one in reversed(unusable)}.values()
    return clips


def _cut_folder(segment: Clip) -> str:
    return os.path.splitext(segment.path)[0]


def _cut(segment: Clip, root: str, cut_dir: Path) -> Clip | Refusal:
    from ...data.audio import read_segment

    offset = segment.offset or 0
    path = f"{_cut_folder(segment)}/{offset:010}.flac"
    source, target = Path(root, segment.path), cut_dir / path
    is_there = existing_num_samples(target) == segment.num_samples
    if not is_there or os.path.getmtime(target) < os.path.getmtime(source):
        try:
            # the reader that training uses: a file holds the same samples as the row it was cut from
            samples = read_segment(source, offset, segment.num_samples)
        except InputError as error:
            return Refusal(segment.path, "a segment cannot be read", str(error))
        write_flac(target, samples)
    return Clip(path, segment.num_samples)
