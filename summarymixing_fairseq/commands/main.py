"""The `summarymixing` command: parsing, and errors as one line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ..errors import InputError
from ..version import __version__
from . import benchmark, check_manifest, decode, evaluate, export, features, layers, mp3s

COMMANDS = (check_manifest, decode, features, export, evaluate, layers, mp3s, benchmark)


def build_parser() -> argparse.ArgumentParser:
    """Parser with one sub-parser a command."""
    parser = argparse.ArgumentParser(
        prog="summarymixing",
        description="Use wav2vec 2.0 models with SummaryMixing. Training is fairseq's: fairseq-hydra-train "
        "--config-dir examples/pretraining --config-name base task.data=...",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 after an error of the user's input, 130 after Ctrl-C."""
    args = build_parser().parse_args(argv)
    try:
        args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        print(f"summarymixing {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader (head, less) has seen enough; a flush at exit must not complain either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"summarymixing {args.command}: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        if error.filename is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def console_main() -> None:
    """Entry point of the console script."""
    sys.exit(main())
