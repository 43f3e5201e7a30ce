"""Options and input that several commands share: checkpoint, clips and device."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints.hub import on_disk
from ..system.errors import InputError, printable
from ..system.figures import FORMATS

if TYPE_CHECKING:
    import torch

    from ..data.manifest import Clip


MAX_SEED = 2**32 - 1  # scikit-learn's


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the checkpoint and the clips."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint, export of one, or ORG/NAME of the hub")
    add_clip_arguments(parser)


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the clips, and how they are computed."""
    parser.add_argument(
        "audio", type=Path, nargs="*", help="audio files (flac, wav, ogg, opus, mp3), folders, - for stdin"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of manifests, instead of audio files")
    parser.add_argument("--split", default="test", help="DIR/SPLIT.tsv is the manifest (default: test)")
    add_outside_root_argument(parser)
    parser.add_argument(
        "--batch-seconds", type=float, default=120.0, help="audio in a padded batch; lower it if memory is short"
    )
    add_device_arguments(parser)
    parser.add_argument("--force", action="store_true", help="overwrite outputs that are there already")


def add_outside_root_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets rows of manifests lead out of their root."""
    parser.add_argument(
        "--allow-outside-root",
        action="store_true",
        help="also read rows that lead out of the manifest's root: absolute paths, `..`, links",
    )


def add_plot_argument(parser: argparse.ArgumentParser, text: str, default: Path | None = None) -> None:
    """Add ``--plot``; text: its help."""
    parser.add_argument("--plot", type=_plot, default=default, metavar="FILE", help=f"{text}; .png, .pdf or .svg")


def _plot(text: str) -> Path:
    path = Path(text)
    if path.suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"{printable(text)[:100]}: must end in {', '.join(FORMATS)}")
    return path


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``, which ``prepare`` reads, and ``--precision``."""
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto (default: a GPU if there is one)")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16"),
        default="float32",
        help="of products, as task.amp_dtype in training (default: float32, the same on every device)",
    )


def layer(text: str) -> int | str:
    """A layer as the command line names it: a number, all or output; argparse's ``type``."""
    if text in ("all", "output"):
        return text
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: a number, all, or output")


def clips_to_read(args: argparse.Namespace) -> list[Clip]:
    """Clips in the order of the manifest or the command line.

    Raises:
        InputError: for neither or both of audio files and --data, a folder without audio, or a manifest that cannot be
            read.
    """
    from ..data.manifest import Manifest

    if bool(args.audio) == (args.data is not None):
        raise InputError("name the clips: either audio files, or --data DIR --split SPLIT")
    check_batch_seconds(args.batch_seconds)
    if args.audio:
        for path in args.audio:
            if not (str(path) == "-" or path.exists() or getattr(args, "skip_bad", False)):
                raise InputError(f"{path} cannot be read: no such file")
        clips = [clip for path in args.audio for clip in _clips_of(path, args.allow_outside_root)]
        if len({clip.name for clip in clips}) < len(clips):  # in two folders: their paths tell them apart
            clips = [clip if clip.content is not None else replace(clip, name=str(clip.path)) for clip in clips]
        return clips
    return list(Manifest(args.data / f"{args.split}.tsv", allow_outside_root=args.allow_outside_root))


def check_checkpoints(args: argparse.Namespace) -> None:
    """Raises InputError for a checkpoint that is not there, which would else be seen after seconds of imports."""
    for path in [*vars(args).get("checkpoints", ()), vars(args).get("checkpoint")]:
        if path and not (vars(args).get("download") or on_disk(path).exists()):
            raise InputError(f"checkpoint {path} cannot be read: No such file or directory")


def check_batch_seconds(seconds: float) -> None:
    """Raises InputError unless it is a positive number."""
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"--batch-seconds {seconds}: must be a positive number")


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that scikit-learn does not take."""
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"--seed {seed}: must be 0 to {MAX_SEED}")


def _clips_of(path: Path, allow_outside_root: bool) -> list[Clip]:
    """The clip that a path names, those of a folder and the folders in it, or for "-" that of stdin."""
    from ..data.manifest import Clip

    if str(path) == "-":
        return [Clip(Path("stdin"), "stdin", content=sys.stdin.buffer.read())]
    if not path.is_dir():
        return [Clip(path, str(path))]

    from ..corpora.audio.scan import EXTENSIONS, find_audio, passed_over_notes
    from ..corpora.writing.options import AudioRules, ManifestOptions
    from ..corpora.writing.rows import Refusal

    refusals: list[Refusal] = []
    rules = AudioRules(allow_outside_root=allow_outside_root)
    passed_over: Counter[str] = Counter()
    names = find_audio(path, ManifestOptions(path, rules), refusals, passed_over=passed_over)
    for note in passed_over_notes(passed_over, can_name=False):
        print(f"{printable(str(path))}: {note}", file=sys.stderr)
    for refused in refusals:
        print(f"left out: {printable(str(path / refused.path))}: {refused.reason}", file=sys.stderr)
    if not names:
        raise InputError(f"{path} holds no audio ({', '.join(EXTENSIONS)})")
    root = None if allow_outside_root else os.path.realpath(path)
    return [Clip(path / name, name, real_root=root) for name in names]


def prepare(args: argparse.Namespace) -> torch.device:
    """Register our models with fairseq, and choose the device, on which float32 is float32 and not TF32.

    Raises:
        InputError: for a device that is not there.
    """
    import torch

    from .. import register
    from ..system.precision import allow_tf32

    register()
    allow_tf32(False)
    name = args.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "cuda":
            torch.cuda.set_device(device)  # get_device_name and the like then ask this GPU
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {args.device}: {str(error).splitlines()[0]}") from None
    return device
