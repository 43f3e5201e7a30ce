"""`summarymixing export`: a checkpoint in another format, to share with others and to use elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.errors import InputError, printable
from ..system.files import exclusive
from .inputs import add_outside_root_argument


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `export` sub-command."""
    parser = subparsers.add_parser(
        "export",
        help="a checkpoint in another format (safetensors, transformers, ONNX, ...), with a model card",
        description="Write a checkpoint (pre-trained or fine-tuned) in another format, with a model card and a file "
        "that shows its use. It is compared with the checkpoint first, and not written if it differs. Neither the "
        "optimizer nor names of files and folders go with it: a run does not resume from it. safetensors (a probe's "
        "too) and hf are taken by all commands, load_model and fine-tuning (model.w2v_path) in place of the "
        "checkpoint. See docs/export.md.",
    )
    parser.add_argument(
        "checkpoint", type=Path, help="checkpoint of fairseq's, an export in safetensors or hf, or ORG/NAME of the hub"
    )
    parser.add_argument("output", type=Path, help="FILE.safetensors, or the folder to write")
    parser.add_argument(
        "--to", default="safetensors", metavar="FORMAT", help="safetensors (default), hf, onnx, torch, sherpa or s3prl"
    )
    parser.add_argument(
        "--licence", default="unknown", help="of the weights, for the card: SPDX's name, as cc-by-4.0 (default unknown)"
    )
    parser.add_argument(
        "--int8",
        type=Path,
        metavar="SPLIT.tsv",
        help="manifest with labels beside it: --to onnx also writes model.int8.onnx, and prints size, error rate and "
        "speed of both on these clips",
    )
    add_outside_root_argument(parser)
    parser.add_argument(
        "--download",
        action="store_true",
        help="get the checkpoint ORG/NAME from the Hugging Face hub first; all commands find it in the cache then",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an output that is there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read, write, check.

    Raises:
        InputError: see ``export.run.export`` and ``checkpoints.hub.download``.
    """
    if not args.licence.strip():
        raise InputError("--licence is empty: leave it out where it is not known")
    with exclusive(args.output.parent):
        from ..checkpoints.hub import download
        from ..data.manifest import Manifest
        from ..export.run import export

        if args.download:
            download(args.checkpoint)
        int8 = args.int8 and Manifest(args.int8, allow_outside_root=args.allow_outside_root)
        for line in export(args.checkpoint, args.output, args.to, args.licence, args.force, int8):
            print(printable(line))
