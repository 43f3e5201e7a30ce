"""One shard: the clips in a tar file, each NAME.ENDING and NAME.json, as webdataset writes them."""

from __future__ import annotations

import os
import posixpath
import re
import tarfile

from ..writing.options import AudioRules
from ..writing.rows import Refusal, link_problem, path_problem
from .scan import EXTENSIONS, READ_IF_NAMED

# What Python's tarfile raises for a broken file; RuntimeError: headers nested too deep.
_TAR_ERRORS = (tarfile.TarError, OSError, RuntimeError, ValueError, OverflowError, MemoryError)


def shard_split(shard: str) -> str:
    """The split that a shard is of: its name without ending and number."""
    return re.sub(r"[-_.]?\d*\.tar(:.*)?$", "", posixpath.basename(shard)) or "shards"


def shard_members(shard: str, root: str, rules: AudioRules) -> tuple[list[tuple[int, int]], list[Refusal]]:
    """Offset and length in bytes of each clip of `root`/`shard`, and what is refused: of a broken shard all.

    As for webdataset, NAME ends at the first dot.
    """
    problem = path_problem(shard, allow_outside_root=rules.allow_outside_root)
    if problem is None and not rules.allow_outside_root:
        problem = link_problem(shard, root)
    if problem is None and not os.path.isfile(os.path.join(root, shard)):
        problem = "no regular file"
    if problem is None and not shard.endswith(".tar"):
        problem = "compressed shard, in which nothing can be found by its place (unpack it to .tar)"
    if problem:
        return [], [Refusal(shard, problem)]
    try:
        files, refusals = _files(shard, root)
    except _TAR_ERRORS as error:
        return [], [Refusal(shard, "truncated or damaged shard", str(error))]
    members: list[tuple[int, int]] = []
    for name, endings in files.items():
        audio = [ending for ending in endings if ending.rpartition(".")[2] in (*EXTENSIONS, *READ_IF_NAMED)]
        if "json" in endings and len(audio) == 1:
            members.append(endings[audio[0]])
        elif len(audio) > 1:
            refusals.append(Refusal(f"{shard}: {name}.{audio[1]}", f"second audio beside {name}.{audio[0]}"))
        elif audio:
            refusals.append(Refusal(f"{shard}: {name}.{audio[0]}", "audio without its .json"))
        elif "json" in endings:
            refusals.append(Refusal(f"{shard}: {name}.json", ".json without its audio"))
    return members, refusals


def _files(shard: str, root: str) -> tuple[dict[str, dict[str, tuple[int, int]]], list[Refusal]]:
    """Offset and length of each file of a shard, by name and ending in small letters, and what is refused.

    Raises:
        tarfile.TarError and others of ``_TAR_ERRORS``: for a shard that is truncated or damaged.
    """
    files: dict[str, dict[str, tuple[int, int]]] = {}
    refusals: list[Refusal] = []
    end = 0
    with open(os.path.join(root, shard), "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        for member in tar:
            # tarfile passes over a broken header: see below
            end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            if member.isdir():
                continue
            folder, last = posixpath.split(member.name)
            name, _, ending = last.partition(".")
            key = posixpath.join(folder, name)
            place = files.get(key, {})
            reason = ""
            if member.name.startswith("/") or ".." in member.name.split("/"):
                reason = "name that leads out of the shard"
            elif not member.isreg() or member.issparse():
                reason = "no regular file"
            elif not ending or not name:
                reason = "name without an ending"
            elif ending.lower() in place:
                reason = "name that is there twice"
            if reason:
                refusals.append(Refusal(f"{shard}: {member.name}", reason))
                continue
            files.setdefault(key, {})[ending.lower()] = (member.offset_data, member.size)
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("it does not end as a tar file does")
    return files, refusals
