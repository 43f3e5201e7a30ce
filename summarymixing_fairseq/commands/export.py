"""`summarymixing export`: the weights of a checkpoint as a safetensors file, to share with others."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.errors import InputError, printable
from ..system.files import exclusive, refuse_existing


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `export` sub-command."""
    parser = subparsers.add_parser(
        "export",
        help="weights, configuration and symbols of a checkpoint as safetensors, without the optimizer",
        description="Write what others need of a checkpoint (pre-trained, fine-tuned, or a probe's) as one safetensors "
        "file, which cannot hold code. decode, features, evaluate, mp3s, load_model and fine-tuning (model.w2v_path) "
        "take it instead of the checkpoint; a run does not resume from it.",
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint of fairseq's")
    parser.add_argument("output", type=Path, help="file to write, FILE.safetensors")
    parser.add_argument("--force", action="store_true", help="overwrite an output that is there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read, check, write.

    Raises:
        InputError: for a checkpoint that cannot be read safely, weights that are not finite, or an output that is
            there already or cannot be written.
    """
    if args.output.suffix != ".safetensors":
        raise InputError(f"{args.output}: name it FILE.safetensors, by which other commands know its format")
    with exclusive(args.output.parent):
        refuse_existing([args.output], args.force)

        from ..checkpoints.contents import weights_of
        from ..checkpoints.safetensors_file import write_safetensors
        from ..checkpoints.untrusted_file import load_safely

        state = load_safely(args.checkpoint)
        weights = weights_of(state, args.checkpoint)
        write_safetensors(state, args.output)
    num_parameters = sum(weight.numel() for weight in weights.values())
    print(printable(f"{args.output}: {num_parameters:,} parameters, {args.output.stat().st_size:,} bytes"))
