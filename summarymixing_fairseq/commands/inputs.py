"""What `decode` and `features` share: which clips, on which device, in batches."""

from __future__ import annotations

import argparse
import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..data.manifest import Clip


@dataclass(frozen=True)
class ClipToRead:
    """A clip to read, and the name its output goes by (relative to the manifest's root, or as given).

    ``offset`` and ``num_samples``, at 16 kHz, make it a part of a file; None: from its start, to its end.
    ``real_root`` is the folder that it must lie in, links followed; None: it may lie anywhere.
    """

    path: Path
    name: str
    offset: int | None = None
    num_samples: int | None = None
    real_root: str | None = None


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name the checkpoint and the clips."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint of wav2vec2_summarymixing")
    parser.add_argument("audio", type=Path, nargs="*", help="audio files (flac, wav, ogg, opus, mp3)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of manifests, in place of audio files")
    parser.add_argument("--split", default="test", help="DIR/SPLIT.tsv is the manifest (default: test)")
    add_outside_root_argument(parser)
    parser.add_argument(
        "--batch-seconds", type=float, default=120.0, help="audio in a padded batch; lower it if memory is short"
    )
    add_device_argument(parser)
    parser.add_argument("--force", action="store_true", help="overwrite outputs that are there already")


def add_outside_root_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that lets rows of manifests lead out of their root."""
    parser.add_argument(
        "--allow-outside-root",
        action="store_true",
        help="read rows that lead out of the manifest's root too: absolute paths, `..`, links",
    )


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """The argument that ``prepare`` reads."""
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: a GPU if there is one)")


def clips_to_read(args: argparse.Namespace) -> list[ClipToRead]:
    """Clips in the order of the manifest or the command line.

    Raises:
        InputError: for neither or both of audio files and --data, or a manifest that cannot be read.
    """
    from ..data.manifest import Manifest

    if bool(args.audio) == (args.data is not None):
        raise InputError("name the clips: either audio files, or --data DIR --split SPLIT")
    if not (math.isfinite(args.batch_seconds) and args.batch_seconds > 0):
        raise InputError(f"--batch-seconds {args.batch_seconds}: must be a positive number")
    if args.audio:
        return [ClipToRead(path, str(path)) for path in args.audio]
    manifest = Manifest(args.data / f"{args.split}.tsv", allow_outside_root=args.allow_outside_root)
    return [clip_of_row(clip) for clip in manifest]


def clip_of_row(clip: Clip) -> ClipToRead:
    """A row of a manifest; parts of one file get names of their own by their first samples."""
    if clip.offset is None:
        return ClipToRead(clip.path, clip.name, real_root=clip.real_root)
    stem, extension = os.path.splitext(clip.name)
    name = f"{stem}_{clip.offset:010}{extension}"
    return ClipToRead(clip.path, name, clip.offset, clip.num_samples, clip.real_root)


def prepare(args: argparse.Namespace) -> torch.device:
    """Import and register what the model needs, quietly, and choose the device.

    Raises:
        InputError: for a device that is not there.
    """
    import torch

    # fairseq logs its configuration and more at INFO while a model is built
    logging.basicConfig(level=logging.WARNING)
    from .. import register

    register()
    name = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {args.device}: {str(error).splitlines()[0]}") from None
    return device


def read_in_batches(clips: Sequence[ClipToRead], batch_seconds: float) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Read clips in batches of like length, with a progress bar in seconds of audio.

    Yields:
        positions in ``clips``, and their (num_samples,) waveforms.

    Raises:
        InputError: for a clip that cannot be read: before anything is computed where its header says so, or where
            links lead out of its manifest's root.
    """
    from tqdm import tqdm

    from ..data.audio import DECODING_ERRORS, SAMPLE_RATE_HZ, read_header, read_segment
    from ..data.batching import batches_by_length
    from ..data.manifest import check_inside

    num_samples = []
    for clip in clips:
        check_inside(clip.path, clip.real_root)
        if clip.num_samples is not None:
            num_samples.append(clip.num_samples)
            continue
        try:
            num_frames, rate_hz = read_header(clip.path)
        except DECODING_ERRORS:
            num_frames = 0
        if num_frames <= 0:
            read_segment(clip.path)  # says what is wrong
            raise InputError(f"{clip.path} cannot be read: no audio header")
        num_samples.append(math.ceil(num_frames * SAMPLE_RATE_HZ / rate_hz))
    total_seconds = sum(num_samples) / SAMPLE_RATE_HZ
    bar = tqdm(total=round(total_seconds), unit="s", desc="audio", mininterval=0.5)
    with bar:
        for batch in batches_by_length(num_samples, int(batch_seconds * SAMPLE_RATE_HZ)):
            yield batch, [read_segment(clips[i].path, clips[i].offset or 0, clips[i].num_samples) for i in batch]
            bar.update(round(sum(num_samples[i] for i in batch) / SAMPLE_RATE_HZ))
