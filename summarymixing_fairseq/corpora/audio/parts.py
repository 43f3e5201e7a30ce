"""Parts of files that a list names by where they begin and end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...system.units import SAMPLE_RATE_HZ
from ..writing.options import AudioRules, ManifestOptions
from ..writing.rows import Clip, Refusal
from .scan import read_clips


@dataclass(frozen=True)
class Part:
    """A part of a file: its path below the manifest's root, first sample, and the one after the last.

    `start` None: the whole file; `end` None: to the end of the file. Both count at the manifest's rate.
    """

    path: str
    start: int | None = None
    end: int | None = None


def read_parts(
    root: Path, parts: Sequence[Part], options: ManifestOptions, refusals: list[Refusal]
) -> list[Clip | None]:
    """The clip of each part, or None where it is added to `refusals`: each part is one or the other.

    A part that ends up to 0.1 s after its file ends with it. Limits of length are those of the parts.

    Raises:
        InputError: as ``read_clips``.
    """
    unusable: list[Refusal] = []
    paths = sorted({part.path for part in parts})
    files = {clip.path: clip for clip in read_clips(root, paths, options, unusable, any_length=True)}
    why = {one.path: one for one in unusable}
    clips: list[Clip | None] = []
    for part in parts:
        file = files.get(part.path)
        clip = why[part.path] if file is None else _cut(part, file, options.rules)
        if isinstance(clip, Refusal):
            refusals.append(clip)
        clips.append(clip if isinstance(clip, Clip) else None)
    return clips


def _cut(part: Part, file: Clip, rules: AudioRules) -> Clip | Refusal:
    from ...data.audio import TOLERANCE_SECONDS

    start, end = part.start or 0, file.num_samples if part.end is None else part.end
    if end > file.num_samples + TOLERANCE_SECONDS * SAMPLE_RATE_HZ or start >= file.num_samples:
        times = "{:.2f} to {:.2f} s of {:.2f} s".format(*(n / SAMPLE_RATE_HZ for n in (start, end, file.num_samples)))
        return Refusal(part.path, "part beyond the end of its file", times)
    end = min(end, file.num_samples)
    if end <= start:
        return Refusal(part.path, "part without a sample", f"{start / SAMPLE_RATE_HZ:.5f} s")
    seconds = (end - start) / SAMPLE_RATE_HZ
    if rules.min_seconds is not None and seconds < rules.min_seconds:
        return Refusal(part.path, f"shorter than {rules.min_seconds:g} s", f"{seconds:.3f} s")
    if rules.max_seconds is not None and seconds > rules.max_seconds:
        return Refusal(part.path, f"longer than {rules.max_seconds:g} s", f"{seconds:.3f} s")
    if part.start is None or (start == 0 and end == file.num_samples):
        return file
    return replace(file, num_samples=end - start, offset=start)
