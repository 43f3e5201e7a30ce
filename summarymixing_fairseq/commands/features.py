"""`summarymixing features`: hidden states of a checkpoint's encoder."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from ..system.errors import printable
from ..system.files import exclusive
from .inputs import add_input_arguments, clips_to_read, layer, prepare


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `features` sub-command."""
    parser = subparsers.add_parser(
        "features",
        help="hidden states of any layer, for audio files or a manifest",
        description="Write hidden states at 50 frames/s: one .npy of shape (frames, width) a clip, named as the clip, "
        "or with --format safetensors one file with the clips' names as keys. With --layer all the shape is "
        "(layers + 1, frames, width). Beside them stands [SPLIT.]features.json, with the frames' times. A run that was "
        "killed goes on when it is started again, without --force.",
    )
    add_input_arguments(parser)
    parser.add_argument("--dest", type=Path, required=True, metavar="DIR", help="folder for the features")
    parser.add_argument(
        "--layer",
        type=layer,
        default="output",
        help="0: encoder input, n: output of layer n, all, or output: that of the last layer after the final LayerNorm "
        "(default)",
    )
    parser.add_argument("--format", choices=("npy", "safetensors"), default="npy")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of what is written")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Extract and write.

    Raises:
        InputError: for input that cannot be read, a clip too short for a frame, or outputs that are there already.
    """
    clips = clips_to_read(args)

    from ..data.feature_files import FeatureFiles

    split = args.split if args.data else None
    files = FeatureFiles(clips, args.dest, split, args.format == "safetensors", args.dtype)
    with exclusive(args.dest):
        files.check_places(args.force)
        device = prepare(args)

        from ..checkpoints.encoders import load_model
        from ..data.frame_times import FrameTimes
        from ..system.precision import autocast

        encoder = load_model(args.checkpoint, device)
        encoder.check_layer(args.layer)
        times = FrameTimes.of(encoder)
        about = {
            "encoder": encoder.describe(),
            "weights_sha256": encoder.weights_digest().hex(),
            "layer": args.layer,
            "dtype": args.dtype,
            "precision": args.precision,
            **times.described(),
        }
        missing = files.begin(about, args.force)
        extract_batch = partial(encoder.extract_batch, layer=args.layer)
        with autocast(args.precision, device.type):
            files.write(about, missing, extract_batch, times.window_samples, args.batch_seconds)
    found = f", {len(clips) - len(missing)} of them by an earlier run" if len(missing) < len(clips) else ""
    print(printable(f"{len(clips)} clips, layer {args.layer}{found}: {files.archive or args.dest}"))
