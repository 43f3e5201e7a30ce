"""Formats by name. A format is one file of this folder: a class of ``Format``, and ``register_format``."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

from ...data.manifest import Manifest
from ...system.errors import InputError
from ..check import Outputs, Recognised, compare
from ..source import Source

FORMATS: dict[str, type[Format]] = {}

FormatClass = TypeVar("FormatClass", bound="type[Format]")


class Format:
    """One format, for one checkpoint and one place.

    Args:
        source: the checkpoint; destination: FILE.safetensors, or a folder.
        int8: clips with labels, to write the model in 8 bits too and say what it loses on them; None: it is not.

    Attributes:
        packages: that it needs; extra: of this package that brings them.
        tolerance: largest difference from the checkpoint's outputs, see ``compare``; 0: equal to the bit.
        takes_int8: whether it can be written in 8 bits.
        optional: of files that not every checkpoint's export has, patterns of the names: where an export replaces an
            earlier one, that one's are removed.
        lines: what was found on the way, for the command to print.
    """

    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    tolerance: ClassVar[float] = 0.0
    takes_int8: ClassVar[bool] = False
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, source: Source, destination: Path, int8: Manifest | None = None):
        self.source, self.destination, self.int8 = source, destination, int8
        self.lines: list[str] = []
        if int8 is not None and not self.takes_int8:
            able = ", ".join(name for name, other in FORMATS.items() if other.takes_int8)
            raise InputError(f"--int8 is of use with --to {able} only")
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise InputError(
                f"this format needs {', '.join(missing)}: pip install 'summarymixing-fairseq[{self.extra}]'"
            )

    def files(self) -> list[Path]:
        """The files that ``write`` writes. Raises InputError for a checkpoint that this format cannot hold."""
        raise NotImplementedError

    def card(self) -> Path:
        """Where the model card goes."""
        return self.destination / "README.md"

    def use(self) -> Path:
        """Where the file of use goes."""
        return self.destination / "use.py"

    def usage(self) -> str:
        """Python code of the file of use: it loads the export and (not a probe) prints what it makes of clip.wav."""
        raise NotImplementedError

    def write(self) -> None:
        """Write ``files``. Raises InputError for what cannot be written."""
        raise NotImplementedError

    def check(self) -> str:
        """Compare what was written with the checkpoint, and say in one line what was found.

        Raises:
            InputError: where they differ.
        """
        return compare(self.source, self.outputs(), self.tolerance)

    def outputs(self) -> Outputs:
        """Read what was written, as who gets it would: see ``Outputs``."""
        raise NotImplementedError

    def forms(self) -> Mapping[Path, Recognised]:
        """What each file that holds the recogniser makes of clips; empty where the encoder alone is written."""
        return {self.files()[0]: self.outputs()}


def register_format(name: str) -> Callable[[FormatClass], FormatClass]:
    """Class decorator: `summarymixing export --to NAME`."""

    def register(format_class: FormatClass) -> FormatClass:
        FORMATS[name] = format_class
        return format_class

    return register
