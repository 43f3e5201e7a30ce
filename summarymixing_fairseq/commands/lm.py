"""`summarymixing lm`: the n-gram model of words that `decode --lm` takes, out of text."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..data.ngrams import ORDERS, train_ngrams
from ..system.errors import printable
from ..system.files import exclusive, refuse_existing


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the `lm` sub-command, and its own: `train`."""
    parser = subparsers.add_parser(
        "lm",
        help="n-gram models for `decode --lm`",
        description="`train` makes an n-gram model of text, an ARPA file. It needs the extra `lm`.",
    )
    commands = parser.add_subparsers(dest="lm_command", required=True, metavar="COMMAND")
    train = commands.add_parser(
        "train",
        help="an n-gram model of text",
        description="Write a Kneser-Ney model of words as an ARPA file. Write the words as those of the recogniser's "
        "labels are written, letter case too; of the training alone, SPLIT.wrd will do.",
    )
    train.add_argument("text", type=Path, help="UTF-8 text, a sentence a line, such as train.wrd")
    train.add_argument(
        "--order", type=int, choices=ORDERS, default=4, metavar="N", help="words of an n-gram, 2 to 5 (default: 4)"
    )
    train.add_argument("--dest", type=Path, metavar="FILE", help="file to write (default: TEXT.Ngram.arpa)")
    train.add_argument("--force", action="store_true", help="overwrite an output that is there already")
    train.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> None:
    """Count, smooth, write.

    Raises:
        InputError: for text that cannot be read or holds no words, or an output that is there already.
    """
    dest = args.dest or args.text.with_name(f"{args.text.name}.{args.order}gram.arpa")
    with exclusive(dest.parent):
        refuse_existing([dest], args.force)
        counted = train_ngrams(args.text, args.order, dest)
    print(
        printable(
            f"{dest}: {args.order}-grams of {counted.sentences:,} sentences, {counted.words:,} words, "
            f"{counted.vocabulary:,} of them different"
        )
    )
