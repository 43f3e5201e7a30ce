"""Shards: the clips of manifests in a few tar files, for file systems on which a million small files are slow.

summarymixing manifest shards DATA --dest DIR
summarymixing manifest shards --index SHARD_DIR --dest DIR

The first writes DIR/SPLIT-000000.tar and so on, of the clips of each DATA/SPLIT.tsv in an order by chance, with 1,000
in each (--clips), and beside them manifests and labels. A whole file goes in as it is, a part of a longer file as FLAC.
Each clip is two files, NAME.flac (or wav, ogg, opus, mp3) and NAME.json, as webdataset has them.

The second makes the manifests of shards that are there, webdataset's too. valid-000000.tar is of the split valid; where
all shards have one name, and that is not of a held-out split, one in a hundred (--valid-fraction) becomes valid, the
others train. A clip without its .json, and a .json without its clip, are refused; a shard that is cut short or
compressed is refused whole.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import os
import random
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..system.errors import InputError
from ..system.files import atomic_write, refuse_existing
from ..system.parallel import parallel_iter
from ..system.strict_json import to_json
from ..system.units import SAMPLE_RATE_HZ
from .audio.audio_file import flac_of
from .audio.scan import read_clips
from .audio.shard_file import shard_members, shard_split
from .tables.existing import Split, read_splits
from .writing.corpus import Prepared
from .writing.labels import Utterance
from .writing.options import ManifestOptions, positive_int
from .writing.rows import Clip, Refusal
from .writing.splits import check_valid_fraction, split_clips

if TYPE_CHECKING:
    from ..data import manifest

# Endings of files by libsndfile's names of formats, where these are others.
_ENDINGS = {"WAVEX": "wav", "RF64": "wav", "MPEG": "mp3", "NIST": "sph"}
# Files of audio that a process reads at a time, and that wait in memory.
_CLIPS_PER_CHUNK = 4
_HELD_OUT = re.compile(r"(valid|validation|val|dev|devel|test|eval)([-_.]\w+)?")


def prepare(
    root: Path,
    options: ManifestOptions,
    *,
    index: bool = False,
    clips_per_shard: int = 1000,
    valid_fraction: float = 0.01,
) -> Prepared:
    """Write shards, or with `index` find what is in shards.

    Args:
        root: folder of manifests; with `index`, of shards. clips_per_shard: at most.
        valid_fraction: with `index`, share of the shards that becomes valid where all have one name.

    Raises:
        InputError: where there is nothing to read, or shards' manifests are there already and not forced.
    """
    from ..data.manifest import archive_and_position

    check_valid_fraction(valid_fraction)
    if index:
        return _indexed(root, options, valid_fraction)
    notes: list[str] = []
    splits = read_splits(root, notes, allow_outside_root=options.rules.allow_outside_root)
    dest = os.path.realpath(options.dest)
    if os.path.realpath(root) == dest:
        raise InputError(f"--dest {options.dest} holds the manifests that are read: choose another folder")
    places = (archive_and_position(clip.path) for split in splits.values() for clip in split.manifest)
    if any(os.path.dirname(os.path.realpath(archive)) == dest for archive in {one for one, at in places if at}):
        raise InputError(f"--dest {options.dest} holds the shards that are read: choose another folder")
    outputs = [options.dest / f"{name}{ending}" for name in splits for ending in (".tsv", "-000000.tar")]
    refuse_existing(outputs, options.force)
    refusals: list[Refusal] = []
    files: dict[str, str | bytes] = {
        path.name: path.read_bytes() for pattern in ("dict.*.txt", "*.model") for path in sorted(root.glob(pattern))
    }
    rows: dict[str, list[Utterance]] = {}
    for name, split in splits.items():
        order = list(range(len(split.manifest)))
        random.Random(name).shuffle(order)  # clips that lie side by side are of one speaker
        written = _write(name, split, order, clips_per_shard, options, refusals)
        usable = {clip.path: clip for clip in read_clips(options.dest, list(written), options, refusals)}
        rows[name] = [Utterance(clip) for clip in usable.values()]
        for kind, lines in split.labels.items():
            files[f"{name}.{kind}"] = "".join(f"{lines[written[path]]}\n" for path in usable)
        shards = {path.partition(":")[0] for path in written}
        notes.append(f"{name}: {len(shards):,} shards")
        own = re.compile(re.escape(name) + r"-\d+\.tar")
        stale = sorted({path.name for path in options.dest.glob("*.tar") if own.fullmatch(path.name)} - shards)
        notes += [f"{options.dest / path} is from an earlier run: delete it" for path in stale]
    num_found = sum(len(split.manifest) for split in splits.values())
    return Prepared(options.dest, rows, refusals, num_found, notes, files)


def _write(
    name: str,
    split: Split,
    order: Sequence[int],
    clips_per_shard: int,
    options: ManifestOptions,
    refusals: list[Refusal],
) -> dict[str, int]:
    """Write the shards of a split. Rows of the split by their new paths, in their new order."""
    contents = parallel_iter(
        _content,
        [split.manifest[row] for row in order],
        workers=options.workers,
        description=f"writing shards of {name}",
        most_per_chunk=_CLIPS_PER_CHUNK,
    )
    samples = _usable(zip(contents, order), refusals)
    written: dict[str, int] = {}
    num_shards = 0
    while (first := next(samples, None)) is not None:
        path = options.dest / f"{name}-{num_shards:06}.tar"
        num_shards += 1
        with atomic_write(path, "wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for row, audio, ending in itertools.chain([first], itertools.islice(samples, clips_per_shard - 1)):
                clip = split.manifest[row]
                length = {"num_samples": clip.num_samples, "sample_rate": SAMPLE_RATE_HZ}
                key = f"{len(written):09}"
                written[f"{path.name}:{file.tell() + tarfile.BLOCKSIZE}:{len(audio)}"] = row
                _add(tar, f"{key}.{ending}", audio)
                _add(tar, f"{key}.json", to_json({"name": clip.output_name, **length}).encode())
    return written


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # the same content gives the same bytes: no time, no owner
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _usable(
    found: Iterator[tuple[tuple[bytes, str] | Refusal, int]], refusals: list[Refusal]
) -> Iterator[tuple[int, bytes, str]]:
    """Row, audio and ending of the clips that can be read."""
    for content, row in found:
        if isinstance(content, Refusal):
            refusals.append(content)
        else:
            yield (row, *content)


def _content(clip: manifest.Clip) -> tuple[bytes, str] | Refusal:
    """A clip as a file of audio, and its ending."""
    from ..data.audio import DECODING_ERRORS, open_audio, read_segment
    from ..data.clips import open_clip

    try:
        opened = open_clip(clip)
        if clip.offset is not None:
            return flac_of(read_segment(opened, *clip.part)), "flac"
        with open_audio(opened) as file:
            ending = _ENDINGS.get(file.format, file.format.lower())
        return opened.read_bytes() if isinstance(opened, Path) else opened.getvalue(), ending
    except DECODING_ERRORS as error:
        return Refusal(clip.name, "cannot be read", str(getattr(error, "strerror", None) or error))


def _indexed(root: Path, options: ManifestOptions, valid_fraction: float) -> Prepared:
    """What is in the shards of a folder."""
    if not root.is_dir():
        raise InputError(f"{root} {'is a file' if root.exists() else 'does not exist'}: give the folder of the shards")
    shards = sorted(path.name for path in root.iterdir() if re.search(r"\.(tar(\.\w+)?|tgz)$", path.name))
    if not shards:
        raise InputError(f"{root} holds no shard (*.tar)")
    refusals: list[Refusal] = []
    paths: list[str] = []
    scans = parallel_iter(
        functools.partial(shard_members, root=os.path.abspath(root), rules=options.rules),
        shards,
        workers=options.workers,
        description="indexing shards",
        items_per_worker=2,
        most_per_chunk=1,
    )
    for (members, unusable), shard in zip(scans, shards):
        paths += [f"{shard}:{offset}:{length}" for offset, length in members]
        refusals += unusable
    num_found = len(paths) + len(refusals)
    clips = read_clips(root, paths, options, refusals)
    splits: dict[str, list[Clip]] = {}
    for clip in clips:
        splits.setdefault(shard_split(clip.path), []).append(clip)
    notes: list[str] = []
    if len(splits) == 1 and not _HELD_OUT.fullmatch(next(iter(splits))):
        of_shards = {clip: clip.path.partition(":")[0] for clip in clips}
        several = len(set(of_shards.values())) > 1
        train, valid, notes = split_clips(clips, valid_fraction, of_shards.__getitem__ if several else None)
        splits = {"train": train, "valid": valid}
    rows = {name: [Utterance(clip) for clip in these] for name, these in splits.items()}
    return Prepared(root, rows, refusals, num_found, notes)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this corpus alone."""
    parser.add_argument("root", metavar="DATA", type=Path, help="folder of manifests; with --index, of shards")
    parser.add_argument("--index", action="store_true", help="make the manifests of shards that are there")
    parser.add_argument("--clips", dest="clips_per_shard", type=positive_int, metavar="N", help="in a shard (1000)")
    parser.add_argument("--valid-fraction", type=float, help="with --index: share of shards in valid.tsv (0.01)")
