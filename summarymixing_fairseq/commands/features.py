"""`summarymixing features`: hidden states of a checkpoint's encoder."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from ..system.errors import printable
from ..system.files import exclusive, refuse_existing
from .inputs import add_input_arguments, clips_to_read, layer, prepare


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
        type=layer,
        default="output",
        help="0: encoder input, n: output of layer n, all, or output: that of the last layer after the final LayerNorm "
        "(default)",
    )
    parser.add_argument("--format", choices=("npy", "safetensors"), default="npy")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Extract and write.

    Raises:
        InputError: for input that cannot be read, a clip too short for a frame, or outputs that are there already.
    """
    clips = clips_to_read(args)

    from ..data.feature_files import feature_names, write_features

    arrays = [args.dest / f"{name}.npy" for name in feature_names(clips)]
    archive = args.dest / f"{args.split if args.data else 'features'}.safetensors"
    one_file = args.format == "safetensors"
    with exclusive(args.dest):
        refuse_existing([archive] if one_file else arrays, args.force)
        device = prepare(args)

        from ..checkpoints.encoders import load_model
        from ..system.precision import autocast

        encoder = load_model(args.checkpoint, device)
        encoder.check_layer(args.layer)
        extract_batch = partial(encoder.extract_batch, layer=args.layer)
        outputs, metadata = archive if one_file else arrays, {"layer": str(args.layer)}
        with autocast(args.precision, device.type):
            write_features(clips, outputs, extract_batch, encoder.min_samples(), args.batch_seconds, metadata)
    print(printable(f"{len(clips)} clips, layer {args.layer}: {archive if one_file else args.dest}"))
