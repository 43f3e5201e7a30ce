"""Writing an export: the files of its format, a check, a model card and a file of use."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..system.errors import InputError
from ..system.files import refuse_existing, write_together
from .card import model_card
from .formats import FORMATS
from .source import load_source


def export(checkpoint: Path, destination: Path, to: str, licence: str, force: bool) -> list[str]:
    """Write a checkpoint in another format.

    Args:
        to: name of the format; licence: for the card, an identifier of SPDX's; force: replace what is there.

    Returns:
        Lines that say what was written and found.

    Raises:
        InputError: for a checkpoint or format that is not there or does not fit, an output that is there already or
            cannot be written, and an export that is not what the checkpoint is: it is removed.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: choose one of {', '.join(sorted(FORMATS))}")
    source = load_source(checkpoint)
    format_ = FORMATS[to](source, destination)
    files = format_.files()
    refuse_existing([*files, format_.card(), format_.use()], force)
    try:
        format_.write()
        found = format_.check()
    except BaseException as error:
        for path in files:
            with suppress(OSError):
                path.unlink()
        with suppress(OSError):
            destination.rmdir()
        if isinstance(error, InputError):
            raise InputError(f"{error} ({destination} was removed)") from None
        raise
    card = model_card(source, to, licence, format_.usage())
    write_together({format_.use(): format_.usage(), format_.card(): card})
    num_parameters = sum(weight.numel() for weight in source.state["model"].values())
    num_bytes = sum(path.stat().st_size for path in files)
    return [f"{destination}: {num_parameters:,} parameters, {num_bytes:,} bytes", found, *format_.lines]
