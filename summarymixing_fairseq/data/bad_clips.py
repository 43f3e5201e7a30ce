"""Clips that cannot be read in training: counted over all data workers, and tolerated up to a share of the split."""

from __future__ import annotations

import logging

import torch

from ..system.errors import InputError

logger = logging.getLogger(__name__)

# Clips named in the error that stops a run. The log has named each one before.
MOST_NAMED = 20


class BadClips:
    """The bad clips of one split so far, marked in memory that this process and its data workers share.

    Args:
        split: its name; num_clips: in it; max_fraction: share of them that may be bad.

    Attributes:
        reasons: why a clip is bad, by its index, of those that this process has met itself.
    """

    def __init__(self, split: str, num_clips: int, max_fraction: float):
        self.split = split
        self.num_clips = num_clips
        self.max_fraction = max_fraction
        self.reasons: dict[int, str] = {}
        self._is_bad = torch.zeros(num_clips, dtype=torch.bool).share_memory_()

    def add(self, index: int, reason: str) -> None:
        """Count a clip, once however often it is met.

        Raises:
            InputError: if there are too many now, naming up to ``MOST_NAMED`` that this process has met.
        """
        if not self._is_bad[index]:
            logger.warning("clip %d of %s cannot be used, another stands in: %s", index, self.split, reason)
            self._is_bad[index] = True
        self.reasons.setdefault(index, reason)  # another process may have met it first
        num_bad = len(self.indices())
        if num_bad > self.max_fraction * self.num_clips or num_bad == self.num_clips:
            named = "; ".join(list(self.reasons.values())[:MOST_NAMED])
            raise InputError(
                f"{num_bad} of {self.num_clips} clips of {self.split} cannot be used, more than "
                f"task.max_bad_fraction={self.max_fraction:g} allows: make the manifest again with --verify, or raise "
                f"the limit. {named}"
            )

    def indices(self) -> list[int]:
        """The bad clips that this process and its data workers have met."""
        # of a copy: torch counts and then writes, past the end of its result if a worker marks a clip in between
        return self._is_bad.clone().nonzero()[:, 0].tolist()
