"""Our manifests as JSON lines in the forms of NeMo and of lhotse."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...system.errors import InputError
from ...system.parallel import parallel_iter
from ...system.strict_json import to_json
from ...system.units import SAMPLE_RATE_HZ
from ..writing.options import ManifestOptions
from .existing import WORDS, Split, read_splits

if TYPE_CHECKING:
    from ...data.manifest import Clip

# Frames, rate in Hz and channels of a file.
_Header = tuple[int, int, int]
# Labels that spell a text which `text` already is.
_SPELLINGS = ("ltr", "chr")


def as_json_lines(folder: Path, options: ManifestOptions, notes: list[str]) -> dict[Path, str]:
    """Content of SPLIT.nemo.jsonl and SPLIT.lhotse.jsonl below `options.dest`, by path, of every manifest of a folder.

    Rows become objects with absolute paths, times in seconds, the text where there are words, letters or characters,
    and every other label by its kind.

    Raises:
        InputError: as ``read_splits``; for a file that cannot be read, or a row of an archive.
    """
    splits = read_splits(folder, notes, allow_outside_root=options.rules.allow_outside_root)
    clips = {clip.path: clip for split in splits.values() for clip in split.manifest}
    headers: dict[Path, _Header] = {}
    found = parallel_iter(_header, list(clips.values()), workers=options.workers, description="reading headers")
    for path, header in zip(clips, found):
        if isinstance(header, str):
            raise InputError(f"{path} cannot be read: {header}")
        headers[path] = header
    files: dict[Path, str] = {}
    for name, split in splits.items():
        cut = functools.partial(_cut, name=name, headers=headers)
        for form, write in (("nemo", _nemo), ("lhotse", cut)):
            lines = (to_json(write(number, clip, told)) for number, (clip, told) in enumerate(_rows(split)))
            files[options.dest / f"{name}.{form}.jsonl"] = "".join(f"{line}\n" for line in lines)
    return files


def _header(clip: Clip) -> _Header | str:
    from ...data.audio import DECODING_ERRORS, open_audio
    from ...data.manifest import archive_and_position

    if archive_and_position(clip.path)[1]:
        return "it lies in an archive, and NeMo and lhotse take files"
    try:
        clip.check_inside()
        with open_audio(clip.path) as file:
            return file.frames, file.samplerate, file.channels
    except DECODING_ERRORS as error:
        return getattr(error, "strerror", None) or str(error)


def _rows(split: Split) -> Iterator[tuple[Clip, dict[str, str]]]:
    """Clips, and what is told of each: its text and labels."""
    is_bpe = {kind for kind in split.labels if kind.startswith("bpe")}
    for number, clip in enumerate(split.manifest):
        labels = {kind: lines[number] for kind, lines in split.labels.items()}
        told = {kind: line for kind, line in labels.items() if kind not in (WORDS, *_SPELLINGS, *is_bpe)}
        if WORDS in labels:
            told["text"] = labels[WORDS]
        elif "ltr" in labels:
            told["text"] = " ".join(labels["ltr"].replace(" ", "").replace("|", " ").split())
        elif "chr" in labels:
            told["text"] = labels["chr"].replace(" ", "")
        yield clip, told


def _nemo(number: int, clip: Clip, told: Mapping[str, str]) -> dict[str, Any]:
    part = {} if clip.offset is None else {"offset": clip.offset / SAMPLE_RATE_HZ}
    return {**told, "audio_filepath": os.path.abspath(clip.path), **part, "duration": clip.num_samples / SAMPLE_RATE_HZ}


def _cut(
    number: int, clip: Clip, told: Mapping[str, str], *, name: str, headers: Mapping[Path, _Header]
) -> dict[str, Any]:
    num_frames, file_rate_hz, num_channels = headers[clip.path]
    channels = list(range(num_channels))
    channel: Any = 0 if num_channels == 1 else channels
    recording_id = str(clip.path)
    whole_seconds = num_frames / file_rate_hz
    seconds = whole_seconds if clip.offset is None else min(clip.num_samples / SAMPLE_RATE_HZ, whole_seconds)
    known = {key: told[key] for key in ("text", "speaker", "language") if key in told}
    custom = {key: label for key, label in told.items() if key not in known}
    cut_id = f"{name}-{number}"
    supervision = {
        "id": cut_id,
        "recording_id": recording_id,
        "start": 0.0,
        "duration": seconds,
        "channel": channel,
        **known,
        **({"custom": custom} if custom else {}),
    }
    recording = {
        "id": recording_id,
        "sources": [{"type": "file", "channels": channels, "source": os.path.abspath(clip.path)}],
        "sampling_rate": file_rate_hz,
        "num_samples": num_frames,
        "duration": whole_seconds,
        "channel_ids": channels,
    }
    return {
        "id": cut_id,
        "start": (clip.offset or 0) / SAMPLE_RATE_HZ,
        "duration": seconds,
        "channel": channel,
        "supervisions": [supervision],
        "recording": recording,
        "type": "MonoCut" if num_channels == 1 else "MultiCut",
    }
