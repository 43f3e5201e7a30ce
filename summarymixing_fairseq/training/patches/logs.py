"""The log of a run: lines for a person on the terminal, all that is said and all numbers in files of its folder.

fairseq logs numbers as JSON. With ``common.log_format=simple`` the terminal shows them in words, and of the rest only
what a person has to know; with ``json`` it shows everything.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from fairseq.logging import progress_bar

from ...system.errors import InputError, printable
from ..log_file import NUMBERS, in_words

TEXT_LOG = "train.log"
FOR_PEOPLE = "simple"
# fairseq's lines that a person wants to see
_SHOWN = ("Saved checkpoint", "done training")
_PACKAGE = __name__.partition(".")[0]

logger = logging.getLogger(__name__)

_limits: dict[str, Any] = {}  # of the run's length, once its configuration is read
_for_people = False
_files: list[logging.Handler] = []


def read(cfg: Any) -> None:
    """Take from a run's configuration how it is to be logged.

    Raises:
        InputError: for a logger that is asked for and not installed.
    """
    global _limits, _for_people
    for field, module, extra in (
        ("tensorboard_logdir", progress_bar.SummaryWriter, "tensorboard"),
        ("wandb_project", progress_bar.wandb, "wandb"),
    ):
        if cfg.common.get(field) and module is None:
            raise InputError(f"common.{field} needs the extra {extra}: pip install 'summarymixing-fairseq[{extra}]'")
    _limits = {"max_update": cfg.optimization.max_update, "max_epoch": cfg.optimization.max_epoch}
    _for_people = cfg.common.log_format == FOR_PEOPLE
    if _for_people:
        cfg.common.log_format = "json"


def begin(save_dir: str) -> None:
    """Log to files of a folder from here on; before ``read`` there is no run to log."""
    if not _limits:
        return
    root = logging.getLogger()
    while _files:  # of an earlier run of this process
        root.removeHandler(_files[-1])
        _files.pop().close()
    progress_bar._close_writers()
    progress_bar._tensorboard_writers.clear()
    text, numbers = (_File(Path(save_dir, name), encoding="utf-8") for name in (TEXT_LOG, NUMBERS))
    text.setFormatter(logging.Formatter("%(asctime)s | %(levelname)s | %(name)s | %(message)s"))
    numbers.addFilter(_numbers_in)
    if _for_people:
        logging.captureWarnings(True)
        for handler in root.handlers:
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_for_people)
                handler.setFormatter(_Words())
    _files[:] = [text, numbers]
    for file in _files:
        root.addHandler(file)
    if _for_people:
        logger.info("all that is logged: %s; the numbers as JSON lines: %s", text.baseFilename, numbers.baseFilename)


def _numbers_in(record: logging.LogRecord) -> bool:
    return record.module == progress_bar.__name__.rpartition(".")[2] and record.getMessage().startswith("{")


def _is_for_people(record: logging.LogRecord) -> bool:
    message = record.getMessage()
    if record.levelno >= logging.WARNING:
        return record.name != "py.warnings"  # of Python's warnings: deprecations
    if _numbers_in(record):
        return record.name != "train"  # the means of an epoch
    return message.startswith(_SHOWN) or record.name.startswith(_PACKAGE)


class _File(logging.FileHandler):
    """A log file that a full disk cuts: no reason to end a training, nor to say so at every line."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the line."""


class _Words(logging.Formatter):
    """A line for a person."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if _numbers_in(record):
            text = in_words(record.name, text, **_limits)
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        first, *more = map(printable, text.split("\n"))  # names of clips may hold what steers a terminal
        lines = [f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {level}{first}", *more]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)
