"""`summarymixing average`: the mean of the weights of several checkpoints of one run."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from ..system.errors import InputError, printable
from ..system.files import atomic_write, exclusive, refuse_existing


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `average` sub-command."""
    parser = subparsers.add_parser(
        "average",
        help="one checkpoint with the mean of the weights of several",
        description="Write a checkpoint whose weights are the means of those of several checkpoints of one run, as its "
        "last five. decode, features, evaluate, export, load_model, fine-tuning (model.w2v_path) and "
        "checkpoint.finetune_from_model take it; it has no optimizer, so a run does not resume from it.",
    )
    parser.add_argument(
        "checkpoints", type=Path, nargs="+", metavar="CKPT", help="two or more checkpoints of fairseq's"
    )
    parser.add_argument("--dest", type=Path, required=True, metavar="FILE", help="file to write, FILE.pt")
    parser.add_argument("--force", action="store_true", help="overwrite a file that is there already")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Read, average, write.

    Raises:
        InputError: for checkpoints that cannot be read or are not of one run, or a file that is there already or cannot
            be written.
    """
    if args.dest.suffix != ".pt":
        raise InputError(f"{args.dest}: name it FILE.pt (`summarymixing export` makes safetensors of it)")
    with exclusive(args.dest.parent):
        refuse_existing([args.dest], args.force)

        import torch

        from ..checkpoints.averaging import average

        state = average(args.checkpoints)
        written = io.BytesIO()  # on a full disk torch.save's own error does not say so
        torch.save(state, written)
        with atomic_write(args.dest, "wb") as file:
            file.write(written.getbuffer())
    print(printable(f"{args.dest}: the mean of {len(args.checkpoints)} checkpoints"))
