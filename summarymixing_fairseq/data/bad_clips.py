"""Clips that cannot be read in training: counted over all data workers, and tolerated up to a share of the split."""

from __future__ import annotations

import logging
import os
import tempfile
import weakref
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..system.errors import InputError
from ..system.interrupts import register, uninterrupted

logger = logging.getLogger(__name__)

# Clips named in the error that stops a run. The log has named each one before.
MOST_NAMED = 20


class BadClips:
    """The bad clips of one split so far, in a temporary file that this process and its data workers share.

    Args:
        split: its name; num_clips: in it; max_fraction: share of them that may be bad.
    """

    def __init__(self, split: str, num_clips: int, max_fraction: float):
        self.split = split
        self.num_clips = num_clips
        self.max_fraction = max_fraction
        with uninterrupted():
            descriptor, self._path = tempfile.mkstemp(prefix="bad-clips-", suffix=".tsv")
            forget = register(partial(_remove, self._path, os.getpid()))
        os.close(descriptor)
        weakref.finalize(self, _remove, self._path, os.getpid(), forget)

    def add(self, index: int, reason: str) -> None:
        """Count a clip, once however often it is met.

        Raises:
            InputError: if there are too many now, naming the first ``MOST_NAMED``.
        """
        known = self.reasons()
        if index not in known:
            logger.warning("clip %d of %s cannot be used, another stands in: %s", index, self.split, reason)
            line = f"{index}\t{reason}".replace("\n", " ") + "\n"
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(line)  # one short write: lines of several workers do not mix
            known = self.reasons()
        if len(known) > self.max_fraction * self.num_clips or len(known) == self.num_clips:
            named = "; ".join(list(known.values())[:MOST_NAMED])
            raise InputError(
                f"{len(known)} of {self.num_clips} clips of {self.split} cannot be used, more than "
                f"task.max_bad_fraction={self.max_fraction:g} allows: make the manifest again with --verify, or raise "
                f"the limit. {named}"
            )

    def reasons(self) -> dict[int, str]:
        """Why each bad clip is bad, by its index, in the order in which they were met."""
        with open(self._path, encoding="utf-8") as file:
            rows = (line.rstrip("\n").partition("\t") for line in file)
            return {int(index): reason for index, _, reason in rows}


def _remove(path: str, owner: int, forget: Callable[[], object] = lambda: None) -> None:
    forget()
    if os.getpid() == owner:  # not when a data worker ends
        with suppress(OSError):
            os.unlink(path)
