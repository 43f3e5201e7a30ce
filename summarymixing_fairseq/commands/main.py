"""The `summarymixing` command: parsing, and errors as one line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .. import interrupts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = ("check_manifest", "decode", "features", "export", "evaluate", "layers", "mp3s", "benchmark")
# What a shell says of a command that a closed pipe has ended.
BROKEN_PIPE = 141


def build_parser() -> argparse.ArgumentParser:
    """Parser with one sub-parser a command."""
    import argparse
    import importlib

    from ..version import __version__

    parser = argparse.ArgumentParser(
        prog="summarymixing",
        description="Use wav2vec 2.0 models with SummaryMixing. Training is fairseq's: fairseq-hydra-train "
        "--config-dir examples/pretraining --config-name base task.data=...",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        importlib.import_module(f".{command}", __package__).add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 after an error of the user's input, 130 after Ctrl-C, 141 where
    the reader of its output has left."""
    from ..errors import InputError
    from .streams import abandon_output

    name = "summarymixing"
    try:
        try:
            args = build_parser().parse_args(argv)
        except SystemExit:  # --help and --version print before they end
            _flush_output()
            raise
        name = f"summarymixing {args.command}"
        args.run(args)
        _flush_output()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader (head, less) has seen enough
        abandon_output()
        return BROKEN_PIPE
    except OSError as error:
        print(f"{name}: {error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        if error.filename is None:
            abandon_output()
        return 1
    return 0


def _flush_output() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def console_main() -> None:
    """Entry point of the console script."""
    interrupts.install()
    from .streams import secure

    secure()
    sys.exit(main())
