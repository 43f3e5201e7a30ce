"""The commands that others of ours start."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

_PLAIN = re.compile(r"[A-Za-z0-9_/.+:@%-]+")


@dataclass(frozen=True)
class Tools:
    """Training and our own command, as lists of arguments."""

    train: tuple[str, ...]
    summarymixing: tuple[str, ...]


def find_tools() -> Tools:
    """The commands of this Python environment.

    Raises:
        InputError: if one is not installed.
    """
    paths = []
    for name in ("fairseq-hydra-train", "summarymixing"):
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else shutil.which(name)
        if found is None:
            raise InputError(f"{name} is not installed in this environment: pip install summarymixing-fairseq")
        paths.append(found)
    return Tools((paths[0],), (paths[1],))


def quoted(value: str) -> str:
    """A value quoted for hydra, whose grammar gives spaces, commas and equals signs a meaning.

    Backslashes count as such except before a quotation mark, the last one included, where two stand for one.
    """
    if _PLAIN.fullmatch(value):
        return value
    doubled = re.sub(r"\\+(?='|\Z)", lambda backslashes: 2 * backslashes[0], value)
    return "'" + doubled.replace("'", r"\'") + "'"
