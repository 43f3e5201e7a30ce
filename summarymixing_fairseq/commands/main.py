"""The `summarymixing` command: parsing, and errors as one line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..system.command import as_script, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def build_parser() -> argparse.ArgumentParser:
    """Parser with one sub-parser for each module of this folder that has ``add_parser``."""
    # imported once signals have their handler: Ctrl-C during an import would print a traceback
    import argparse

    from ..system.plugins import modules_of
    from ..version import __version__
    from . import __path__ as folder

    parser = argparse.ArgumentParser(
        prog="summarymixing",
        description="Use wav2vec 2.0 models with SummaryMixing. Training is fairseq's: fairseq-hydra-train "
        "--config-dir examples/pretraining --config-name base task.data=...",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # what a newcomer needs comes first
    for _, module in sorted(modules_of(__package__, folder).items(), key=lambda item: (item[0] != "manifest", item[0])):
        if hasattr(module, "add_parser"):
            module.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status (see ``system.command.run``)."""
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    # argparse takes clips only right after the checkpoint: of `decode CKPT --stream -` it returns `-` as unrecognised
    if rest and getattr(args, "audio", None) == [] and all(name == "-" or not name.startswith("-") for name in rest):
        args.audio, rest = [Path(name) for name in rest], []
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return run(f"summarymixing {args.command}", lambda: _run(args))


def _run(args: argparse.Namespace) -> object:
    from ..system.quiet import log_warnings_alone
    from .inputs import check_checkpoints

    log_warnings_alone()
    check_checkpoints(args)
    return args.run(args)


def console_main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the console script."""
    as_script(lambda: main(argv))
