"""Checkpoints of fairseq's trainer: never half written, and read without running code.

fairseq writes ``checkpoint_best.pt`` and ``checkpoint_last.pt`` by a plain copy, which a kill leaves torn.
It repeats a write that failed into the same file. It reads with the defaults of ``torch.load``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import IO, Any, cast

import torch
from fairseq import checkpoint_utils
from fairseq.dataclass.utils import overwrite_args_by_name
from omegaconf import OmegaConf

from ...checkpoints.contents import config_of, no_fairseq_checkpoint, sections, weights_of
from ...checkpoints.pretraining_config import MODELS, pretraining_config
from ...checkpoints.recognisers_encoder import encoder_of, is_recogniser
from ...checkpoints.untrusted_file import load_safely
from ...system.errors import InputError
from ...system.files import hold_lock
from . import logs

# Ending of a file that is being written. Nobody takes it for a checkpoint, and the next run in the folder removes it.
TEMPORARY_SUFFIX = ".tmp"
# In what is read of a checkpoint: its configuration as plain containers.
SAVED_SETTINGS = "saved_settings"
# In the configuration that an encoder is built of: it is out of a fine-tuned checkpoint.
OF_RECOGNISER = "of_recogniser"

_verify_checkpoint_directory = checkpoint_utils.verify_checkpoint_directory


class _Output:
    """A file that keeps the operating system's error: torch reports a failed write by file positions only."""

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


def save_whole(state: Any, filename: str) -> None:
    """``torch.save`` to a temporary file, flushed to the disk and then renamed: the earlier file stays until then.

    Raises:
        InputError: if it cannot be written, naming the file and the reason; nothing is left of it.
    """
    temporary = filename + TEMPORARY_SUFFIX
    output = None
    try:
        with open(temporary, "wb") as file:
            output = _Output(file)
            torch.save(state, cast(IO[bytes], output))
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


def second_name(source: str, target: str) -> None:
    """Give a checkpoint a second name in one step: a hard link, or where there are none a copy that is then renamed.

    Nothing writes into a checkpoint, so two names of one file do as well as two files, and take no time and no room.

    Raises:
        InputError: if neither is possible.
    """
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


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _sync_folder(filename: str) -> None:
    """Write a folder's entries to the disk, so that a new name survives a power cut."""
    try:
        descriptor = os.open(os.path.dirname(os.path.abspath(filename)), os.O_RDONLY)
    except OSError:
        return
    with contextlib.suppress(OSError):  # not every file system can
        os.fsync(descriptor)
    os.close(descriptor)


def prepare_folder(save_dir: str) -> None:
    """As fairseq's ``verify_checkpoint_directory``; also locks the folder for this run, whose log goes there.

    Temporary files of a run that was killed are removed.

    Raises:
        InputError: if another run saves there, or it cannot be written.
    """
    try:
        _verify_checkpoint_directory(save_dir)
    except OSError as error:
        raise InputError(f"checkpoint.save_dir={save_dir} cannot be written: {error.strerror or error}") from None
    hold_lock(Path(save_dir), "another training")
    for path in Path(save_dir).glob("*.pt" + TEMPORARY_SUFFIX):
        _remove(str(path))
    logs.begin(save_dir)


def load_checkpoint_to_cpu(path: str, arg_overrides: Any = None, load_on_all_ranks: bool = False) -> Any:
    """As fairseq's, for a file that may come from anyone: its configuration is that of ``pretraining_config`` or None.

    What the file itself has is in ``SAVED_SETTINGS``, to be compared and not built from. Of a fine-tuned CTC model
    it is the encoder alone for every caller that gives ``arg_overrides``, as ``model.w2v_path`` does.

    Raises:
        InputError: as ``load_safely`` and ``pretraining_config``; for weights that are not finite.
    """
    state = load_safely(Path(path))
    weights, config = weights_of(state, Path(path)), config_of(state)
    state["args"] = state["cfg"] = None
    state[SAVED_SETTINGS] = config
    # to build from: for callers that give overrides, and for files of one of MODELS; a resumed run uses its own
    if arg_overrides is not None and is_recogniser(config):
        encoder, state["model"] = encoder_of(config, weights, path)
        state["cfg"] = OmegaConf.create({**encoder, OF_RECOGNISER: True})
        overwrite_args_by_name(state["cfg"], arg_overrides)
    elif arg_overrides is not None or sections(config)[0]["_name"] in MODELS:
        state["cfg"] = OmegaConf.create(pretraining_config(config, weights, path))
        overwrite_args_by_name(state["cfg"], arg_overrides or {})
    try:
        return checkpoint_utils._upgrade_state_dict(state)
    except (AttributeError, LookupError, TypeError):
        raise no_fairseq_checkpoint(Path(path)) from None
