"""What a run's configuration says, read as soon as fairseq knows our models and tasks."""

from __future__ import annotations

from typing import Any

import fairseq_cli.train
from . import logs

_add_defaults = fairseq_cli.train.add_defaults


def add_defaults(cfg: Any) -> None:
    """fairseq's, which fills in the fields that a configuration leaves out; then how to log is read.

    Raises:
        InputError: for a logger that is asked for and not installed.
    """
    _add_defaults(cfg)
    logs.read(cfg)
