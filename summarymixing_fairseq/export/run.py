"""Writing an export: the files of its format, a check, a model card and a file of use."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..data.manifest import Manifest
from ..system.errors import InputError
from ..system.files import refuse_existing, temporary_folder, write_together
from ..system.interrupts import uninterrupted
from .card import model_card
from .formats import FORMATS
from .source import load_source


def export(
    checkpoint: Path, destination: Path, to: str, licence: str, force: bool, int8: Manifest | None = None
) -> list[str]:
    """Write a checkpoint in another format.

    All is made and checked in a folder beside the destination: an error or a signal leaves what was there.

    Args:
        to: name of the format; licence: for the card, an identifier of SPDX's; force: replace what is there.
        int8: see ``Format``.

    Returns:
        Lines that say what was written and found.

    Raises:
        InputError: for a checkpoint or format that is not there or does not fit, an output that is there already or
            cannot be written, and an export that is not what the checkpoint is.
    """
    if to not in FORMATS:
        raise InputError(f"--to {to}: choose one of {', '.join(sorted(FORMATS))}")
    if destination.name in ("", ".."):  # its name is that of the folder it leads to
        destination = Path(os.path.abspath(destination))
    source = load_source(checkpoint)
    made = FORMATS[to](source, destination, int8)
    # the last of the format's own files stands for all
    paths = [made.use(), made.card(), *made.files()]
    refuse_existing(paths, force)
    with temporary_folder(".export-", destination.absolute().parent) as folder:
        made.destination = folder / destination.name
        try:
            with _quiet_exporters():
                made.write()
                found = made.check()
        except InputError as error:
            text = str(error).replace(str(made.destination), str(destination))
            raise InputError(f"{text} (nothing was written)") from None
        write_together({made.use(): made.usage(), made.card(): model_card(source, to, licence, made.usage())})
        num_parameters = sum(weight.numel() for weight in source.state["model"].values())
        num_bytes = sum(path.stat().st_size for path in made.files())
        with uninterrupted():
            if force:
                earlier = {path for pattern in made.optional for path in destination.glob(pattern)}
                for path in earlier - set(paths):
                    path.unlink()
            for new, path in zip([made.use(), made.card(), *made.files()], paths):
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(new, path)
    return [f"{destination}: {num_parameters:,} parameters, {num_bytes:,} bytes", found, *made.lines]


@contextmanager
def _quiet_exporters() -> Iterator[None]:
    """torch's exporters warn of their own parts, and of a torchvision that nothing here needs."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
