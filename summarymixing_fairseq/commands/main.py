"""The `summarymixing` command: parsing, and errors as one line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from ..system.command import as_script, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

COMMANDS = (
    "manifest",
    "configs",
    "check_manifest",
    "options",
    "decode",
    "features",
    "export",
    "evaluate",
    "layers",
    "mp3s",
    "benchmark",
)


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
    """Run a command and return its exit status (see ``system.command.run``)."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit:  # --help and --version print before they end
        if sys.stdout is not None:
            sys.stdout.flush()
        raise
    return run(f"summarymixing {args.command}", lambda: args.run(args))


def console_main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script."""
    as_script(lambda: main(argv))
