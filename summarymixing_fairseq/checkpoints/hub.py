"""Models of the Hugging Face hub, by their names ORG/NAME: out of its cache on this machine, without the internet.

The cache is that of huggingface_hub, which is needed only to download: ``models--ORG--NAME`` with ``refs/main``, which
names a folder of ``snapshots``, whose files are links to ``blobs``, named by their hashes.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ..system.errors import InputError, reason_of
from ..system.files import sha256_of

_FILES = (".pt", ".safetensors")


def on_disk(path: Path) -> Path:
    """Where a checkpoint is: the path itself, or where ORG/NAME stands for a model of the hub its place in the cache.

    Raises:
        InputError: for ORG/NAME that is neither a path nor in the cache.
    """
    name = str(path)
    if path.exists() or path.suffix in _FILES or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        return path
    folder = _cache() / f"models--{name.replace('/', '--')}"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = ""
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise InputError(
            f"{name} is no path, and no model in the Hugging Face cache {_cache()}: "
            f"`summarymixing export {name} OUTPUT --download` gets it from the hub"
        )
    return _checkpoint_in(folder / "snapshots" / commit, name)


def download(path: Path) -> None:
    """Get ORG/NAME from the hub into its cache, and compare each file with its hash of the hub, where the cache has it.

    Raises:
        InputError: without huggingface_hub, or if it cannot be got or a file differs.
    """
    if path.exists():
        raise InputError(f"--download: {path} is a file or folder here, not a name ORG/NAME of the Hugging Face hub")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError("--download needs huggingface_hub: pip install 'summarymixing-fairseq[hub]'") from None
    try:
        snapshot = Path(snapshot_download(str(path)))
    except Exception as error:  # of a name, a network, a right or a disk: a dozen kinds
        raise InputError(f"{path} cannot be downloaded: {reason_of(error)}") from None
    # the hash is the name that a link has first: that may be a link itself, to where models share their files
    for file in sorted(one for one in snapshot.rglob("*") if one.is_symlink()):
        named = Path(os.readlink(file)).name
        if named != _hash(file, len(named)):
            raise InputError(f"{path}: {file.name} is not what the hub has: delete {file.resolve()}, download it again")


def _hash(file: Path, num_digits: int) -> str:
    """SHA-256 of a large file, or git's of a small one, as the hub names them. No other name matches it."""
    if num_digits == 64:
        return sha256_of(file)
    content = file.read_bytes()
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{home}/huggingface"
    return Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def _checkpoint_in(snapshot: Path, name: str) -> Path:
    """A folder for transformers, or the one checkpoint of another."""
    if (snapshot / "config.json").exists():
        return snapshot
    files = [file for file in sorted(snapshot.glob("*")) if file.suffix in _FILES]
    if len(files) != 1:
        found = f"{len(files)} checkpoints, of which none is chosen" if files else "no checkpoint"
        raise InputError(f"{name}: {snapshot} holds {found}: name a file in it")
    return files[0]
