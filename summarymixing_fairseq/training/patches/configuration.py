"""What a run's configuration says, read as soon as fairseq knows our models and tasks."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

import fairseq_cli.train
from fairseq.dataclass import utils
from omegaconf import open_dict
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from ...system.errors import InputError
from . import logs

_add_defaults = fairseq_cli.train.add_defaults
_merge_with_parent = utils.merge_with_parent


def add_defaults(cfg: Any) -> None:
    """fairseq's, which fills in the fields that a configuration leaves out; then how to log is read.

    Raises:
        InputError: for a logger that is asked for and not installed.
    """
    _add_defaults(cfg)
    logs.read(cfg)


def merge_with_parent(dc: Any, cfg: Any, remove_missing: bool = False) -> Any:
    """fairseq's, which fills in the fields of one group.

    Args:
        remove_missing: for the configuration in a checkpoint: drop fields that there are no more. fairseq also drops
            all that stands in a dictionary whose default is empty, such as the options of a mixer. Here they stay.

    Raises:
        InputError: for a field that there is not, with the one of the nearest name, or a value of another type.
    """
    names = [field.name for field in dataclasses.fields(dc) if field.default_factory is dict]
    kept = {name: cfg[name] for name in names if remove_missing and name in cfg}
    with open_dict(cfg):
        for name in kept:
            del cfg[name]
    try:
        merged = _merge_with_parent(dc, cfg, remove_missing)
    except ValidationError as error:
        reason = str(error).split("\n")[0]
        raise InputError(f"{cfg._key()}.{error.full_key or error.key}: {reason}") from None
    except (ConfigAttributeError, ConfigKeyError):
        known = [field.name for field in dataclasses.fields(dc)]
        unknown = next((str(name) for name in cfg if name not in known), None)
        if unknown is None:
            raise
        group, near = cfg._key(), difflib.get_close_matches(unknown, known, 1)
        hint = f"; did you mean {group}.{near[0]}?" if near else ", nor one of a similar name"
        raise InputError(f"{group}.{unknown}: {cfg.get('_name', group)} has no such field{hint}") from None
    with open_dict(cfg):
        for name, options in kept.items():
            cfg[name] = merged[name] = options
    return merged
