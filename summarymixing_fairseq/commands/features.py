"""`summarymixing features`: hidden states of a checkpoint's encoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace

from ..system.errors import InputError
from ..system.files import atomic_write, check_writable, exclusive, refuse_existing
from .inputs import ClipToRead, add_input_arguments, clips_to_read, prepare, read_in_batches


def _layer(text: str) -> int | str:
    if text in ("all", "output"):
        return text
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r}: a number, all, or output")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `features` sub-command."""
    parser = subparsers.add_parser(
        "features",
        help="hidden states of any layer, for audio files or a manifest",
        description="Write hidden states at 50 frames/s, float32: one .npy of shape (frames, width) a clip, named as "
        "the clip, or with --format safetensors one file with the clips' names as keys. With --layer all the shape is "
        "(layers + 1, frames, width).",
    )
    add_input_arguments(parser)
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder for the features")
    parser.add_argument(
        "--layer",
        type=_layer,
        default="output",
        help="0: encoder input, n: output of layer n, all, or output: that of the last layer after the final LayerNorm "
        "(default)",
    )
    parser.add_argument("--format", choices=("npy", "safetensors"), default="npy")
    parser.set_defaults(run=run)


def output_names(clips: list[ClipToRead]) -> list[str]:
    """Name of each clip's features: its own without the extension, absolute paths and `..` reduced to the file's name.

    Raises:
        InputError: if two clips would be written to one name.
    """
    names = []
    for clip in clips:
        path = Path(clip.name)
        if path.is_absolute() or ".." in path.parts:
            path = Path(path.name)
        names.append(str(path.with_suffix("")))
    seen: dict[str, str] = {}
    for name, clip in zip(names, clips):
        if name in seen:
            raise InputError(f"{clip.name} and {seen[name]} would both be written as {name}: rename one")
        seen[name] = clip.name
    return names


def run(args: argparse.Namespace) -> None:
    """Extract and write.

    Raises:
        InputError: for input that cannot be read, a clip too short for a frame, or outputs that are there already.
    """
    clips = clips_to_read(args)
    names = output_names(clips)
    archive = args.dest / f"{args.split if args.data else 'features'}.safetensors"
    outputs = [archive] if args.format == "safetensors" else [args.dest / f"{name}.npy" for name in names]
    with exclusive(args.dest):
        refuse_existing(outputs, args.force)
        check_writable(args.dest)
        _extract(args, clips, names, archive)


def _extract(args: argparse.Namespace, clips: list[ClipToRead], names: list[str], archive: Path) -> None:
    device = prepare(args)

    import numpy as np
    from safetensors.numpy import save

    from ..checkpoints.encoders import load_model

    encoder = load_model(args.checkpoint, device)
    encoder.check_layer(args.layer)
    gathered = {}
    for positions, waveforms in read_in_batches(clips, args.batch_seconds):
        for i, waveform in zip(positions, waveforms):
            if len(waveform) < encoder.min_samples():
                raise InputError(
                    f"{clips[i].path}: {len(waveform)} samples give no frame ({encoder.min_samples()} are the least); "
                    "leave it out"
                )
        for i, states in zip(positions, encoder.extract_batch(waveforms, args.layer)):
            if args.format == "npy":
                with atomic_write(args.dest / f"{names[i]}.npy", "wb") as file:
                    # by Python: to a file as such numpy would write itself, and say no more than that it failed
                    np.save(SimpleNamespace(write=file.write), states.numpy())
            else:
                gathered[names[i]] = states.numpy()
    if args.format == "safetensors":
        with atomic_write(archive, "wb") as file:
            file.write(save({name: gathered[name] for name in names}, {"layer": str(args.layer)}))
    where = archive if args.format == "safetensors" else args.dest
    print(f"{len(clips)} clips, layer {args.layer}: {where}")
