"""fairseq's manifests: the root folder, then a row of relative path, tab, number of samples per clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError


@dataclass(frozen=True)
class Clip:
    """A row of a manifest: ``name`` is its path relative to the root."""

    path: Path
    name: str
    num_samples: int


def iterate_rows(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the root first, as (root, -1), then (relative path, number of samples) of every row.

    Raises:
        InputError: for a manifest that is missing or not text, or a row that is not path, tab, number of samples.
    """
    try:
        with open(path, encoding="utf-8") as file:
            yield file.readline().rstrip("\n"), -1
            for number, line in enumerate(file, start=2):
                columns = line.rstrip("\n").split("\t")
                if len(columns) != 2 or not columns[0] or not columns[1].strip().isdecimal():
                    raise InputError(
                        f"{path}, line {number}: {line.strip()[:80]!r} is not path, tab, number of samples; "
                        "make the manifest again (python manifests/make_manifest.py)"
                    )
                yield columns[0], int(columns[1])
    except OSError as error:
        raise InputError(
            f"manifest {path} cannot be read ({error.strerror}): make it with python manifests/make_manifest.py "
            "AUDIO_DIR --dest DIR"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"manifest {path} is not UTF-8 text: is it a manifest at all?") from None


def read_manifest(path: Path) -> list[Clip]:
    """Read a whole manifest.

    Raises:
        InputError: as ``iterate_rows``, and for a manifest without a row.
    """
    rows = iterate_rows(path)
    root = Path(next(rows)[0])
    clips = [Clip(root / name, name, num_samples) for name, num_samples in rows]
    if not clips:
        raise InputError(f"manifest {path} has no row: is the audio folder it was made from empty?")
    return clips


def read_labels(path: Path, num_clips: int) -> list[str]:
    """Lines of a label file beside a manifest of ``num_clips`` rows.

    Raises:
        InputError: for a file that is missing or has another number of lines.
    """
    try:
        labels = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"labels {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"labels {path} are not UTF-8 text") from None
    if labels and labels[-1] == "":
        labels.pop()
    if len(labels) != num_clips:
        raise InputError(f"{path} has {len(labels)} lines, its manifest {num_clips} rows: make both again")
    return labels
