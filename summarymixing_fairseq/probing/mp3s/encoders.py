"""The encoders to compare: names for folders and columns, checkpoints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...checkpoints.hub import on_disk
from ...system.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
RANDOM_SUFFIX = "-random"


@dataclass(frozen=True)
class Encoder:
    """A checkpoint to probe: ``path`` is absolute; ``random``: its architecture with random weights."""

    name: str
    path: Path
    sha256: str
    random: bool = False

    @property
    def title(self) -> str:
        """Title of its column."""
        return f"{self.name.removesuffix(RANDOM_SUFFIX)}, random weights" if self.random else self.name


def parse_encoders(arguments: Sequence[str], with_random: bool = False) -> list[Encoder]:
    """Encoders, each given as ``[NAME=]PATH``.

    Without a name an encoder is named after its file, or after its folder if the file is a checkpoint_*.pt, as
    fairseq names all of them.

    Args:
        with_random: add the architecture of the first encoder with random weights.

    Raises:
        InputError: for no encoder, a file that cannot be read, a name that is no file name, or two of the same name.
    """
    if not arguments:
        raise InputError("name the checkpoints to probe: --encoder [NAME=]CHECKPOINT, once each")
    encoders: list[Encoder] = []
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or "/" in name or _is_checkpoint(Path(argument)):
            name, path = "", argument
        elif not path:
            raise InputError(f"encoder {argument}: no file after the name")
        encoders.append(_encoder(name, Path(path), argument))
    if with_random:
        first = encoders[0]
        encoders.append(Encoder(first.name + RANDOM_SUFFIX, first.path, first.sha256, random=True))
    seen: dict[str, Encoder] = {}
    for encoder in encoders:
        # some file systems ignore case
        other = seen.setdefault(encoder.name.lower(), encoder)
        if other is not encoder:
            raise InputError(
                f"two encoders are called {encoder.name}, {other.path} and {encoder.path}: give each a name, "
                "NAME=CHECKPOINT"
            )
    return encoders


def _encoder(name: str, path: Path, argument: str) -> Encoder:
    place = on_disk(path).absolute()
    if not _is_checkpoint(place):
        raise InputError(f"encoder {argument}: {path} is no file")
    if not name:
        name = path.resolve().parent.name if path.stem.startswith("checkpoint") else path.stem
        name = re.sub(r"[^A-Za-z0-9._+-]+", "_", name).lstrip(".+-") or "encoder"
    if not _NAME.fullmatch(name):
        raise InputError(f"encoder {argument}: {name!r} names a folder, and must be of letters, digits and ._+-")
    from ...checkpoints.hf_folder import content_sha256  # imports fairseq

    return Encoder(name, place, content_sha256(place))


def _is_checkpoint(path: Path) -> bool:
    """Whether it is a file, or a folder as `summarymixing export --to hf` writes it."""
    return path.is_file() or (path / "config.json").is_file()
