"""Checkpoints of fairseq's trainer that are whole or not there, and safe to read.

fairseq writes ``checkpoint_best.pt`` and ``checkpoint_last.pt`` by a plain copy, which a kill leaves torn, and tries a
write that failed again in the middle of what it had written. It reads with whatever ``torch.load`` does by default.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import omegaconf
import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import omegaconf_no_object_check, overwrite_args_by_name
from fairseq.file_io import PathManager
from omegaconf import OmegaConf
from packaging import version

from ...checkpoints.untrusted_file import load_safely
from ...system.errors import InputError
from ...system.files import hold_lock
from ...system.finite import check_finite

# What is being written: never taken for a checkpoint, and the next run in the folder removes it.
TEMPORARY_SUFFIX = ".tmp"

_save_remotely = checkpoint_utils.torch_persistent_save
_copy_remotely = PathManager.copy
_verify_checkpoint_directory = checkpoint_utils.verify_checkpoint_directory


class _Output:
    """A file whose error of the system is kept: torch reports a failed write by positions in the file."""

    def __init__(self, file: Any):
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def save_whole(state: Any, filename: str, async_write: bool = False) -> None:
    """``torch.save`` under another name, to the disk itself, then renamed: the file of before stays until then.

    Raises:
        InputError: if it cannot be written, naming the file and the reason; nothing is left of it.
    """
    if async_write or PathManager.path_requires_pathmanager(filename):
        _save_remotely(state, filename, async_write)
        return
    temporary = filename + TEMPORARY_SUFFIX
    output = None
    try:
        with open(temporary, "wb") as file:
            output = _Output(file)
            torch.save(state, output)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, filename)
        _sync_folder(filename)
    except BaseException as error:
        _remove(temporary)
        cause = error if isinstance(error, OSError) else output.error if output else None
        if cause is None:
            raise
        raise InputError(
            f"checkpoint {filename} cannot be written: {cause.strerror or cause}; earlier ones are as they were: make "
            "room (checkpoint.keep_interval_updates, checkpoint.no_epoch_checkpoints) and start the run again"
        ) from None


def second_name(source: str, target: str, overwrite: bool = False) -> bool:
    """Give a checkpoint another name too, in one step: a link, or where there are none a copy that is then renamed.

    Nothing writes into a checkpoint, so that two names of one file are as good as two files, and cost neither time nor
    disk. Returns True, as fairseq's ``PathManager.copy`` should.

    Raises:
        InputError: if neither is possible.
    """
    if PathManager.path_requires_pathmanager(source) or PathManager.path_requires_pathmanager(target):
        return _copy_remotely(source, target, overwrite)
    temporary = target + TEMPORARY_SUFFIX
    try:
        _remove(temporary)
        try:
            os.link(source, temporary)
        except OSError:  # a file system without links
            shutil.copyfile(source, temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target)
    except OSError as error:
        _remove(temporary)
        raise InputError(
            f"checkpoint {target} cannot be written: {error.strerror or error}; {source} is whole"
        ) from None
    return True


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync_folder(filename: str) -> None:
    """Have a new name survive a power cut."""
    try:
        descriptor = os.open(os.path.dirname(os.path.abspath(filename)), os.O_RDONLY)
    except OSError:
        return
    with contextlib.suppress(OSError):  # not every file system can
        os.fsync(descriptor)
    os.close(descriptor)


def prepare_folder(save_dir: str) -> None:
    """As fairseq's ``verify_checkpoint_directory``, for a run that is about to save there; no other may at a time.

    What a run that was killed had begun to write is removed.

    Raises:
        InputError: if another run saves there.
    """
    _verify_checkpoint_directory(save_dir)
    hold_lock(Path(save_dir), "another training")
    for path in Path(save_dir).glob("*.pt" + TEMPORARY_SUFFIX):
        _remove(str(path))


def load_checkpoint_to_cpu(path: str, arg_overrides: Any = None, load_on_all_ranks: bool = False) -> Any:
    """As fairseq's, for a file that may come from anyone.

    Raises:
        InputError: as ``load_safely``; for weights that are not finite.
    """
    if PathManager.path_requires_pathmanager(path):
        raise InputError(f"checkpoint {path}: download it first")
    state = load_safely(Path(path))
    if not isinstance(state, dict):
        raise InputError(f"{path} is not a checkpoint of fairseq's")
    if isinstance(state.get("model"), dict):
        check_finite(state["model"], Path(path))
    overrides = arg_overrides or {}
    if state.get("args") is not None:
        for name, value in overrides.items():
            setattr(state["args"], name, value)
    if state.get("cfg") is not None:
        # an argparse.Namespace may lie in it, as in fairseq's own reading
        with omegaconf_no_object_check():
            # omegaconf 2.0 knows no flags, and goes by the check that is off
            knows_flags = version.parse(omegaconf.__version__) >= version.parse("2.1")
            options = {"flags": {"allow_objects": True}} if knows_flags else {}
            state["cfg"] = OmegaConf.create(state["cfg"], **options)
        overwrite_args_by_name(state["cfg"], overrides)
    return checkpoint_utils._upgrade_state_dict(state)
