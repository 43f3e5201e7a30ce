"""Warnings about a run that does not learn, or that waits for data. Each is logged once and says what to do.

They are read off the numbers that every update logs, so TensorBoard and W&B show the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

# Accuracy above, and loss below, which the contrastive task has become trivial.
DEGENERATE_ACCURACY = 0.99
DEGENERATE_LOSS_BITS = 0.1
# Largest relative deviation from the share of masked frames that mask_prob aims at.
MASKED_TOLERANCE = 0.4
MOST_PADDING = 0.3
MOST_DATA_WAIT = 0.25


@dataclass(frozen=True)
class Reading:
    """Numbers of one update. None: this run does not have that number.

    Attributes:
        loss_bits: of the criterion per masked frame; accuracy: of the contrastive task, 0 to 1.
        code_perplexity, num_codes: of all codebooks together.
        masked, masked_target: shares of valid frames; padding: share of the samples computed.
        data_wait: share of the time spent waiting for a batch.
    """

    loss_bits: float | None = None
    accuracy: float | None = None
    code_perplexity: float | None = None
    num_codes: int | None = None
    masked: float | None = None
    masked_target: float | None = None
    padding: float | None = None
    data_wait: float | None = None


@dataclass
class _Watch:
    """A condition, its warning, and for how many updates in a row it has held."""

    holds: Callable[[Reading], bool]
    message: Callable[[Reading], str]
    num_updates: int = 0


# By whether clips may be cropped.
UNEQUAL_ADVICE = {
    True: "Cut recordings to like lengths (summarymixing manifest folder --vad), or crop them by task.max_sample_size",
    False: "Leave the longest clips out (--max-seconds when making the manifest)",
}


class HealthMonitor:
    """Warns once when a condition has held long enough, and again if it returns after it was gone.

    Args:
        patience: updates in a row before a warning.
        min_codebook_use: code perplexity over the number of codes below which codebooks count as collapsed.
        may_crop: whether clips may be cropped, so that a warning may advise it.
    """

    def __init__(self, patience: int, min_codebook_use: float, may_crop: bool = True):
        self.patience = patience
        self._watches = [
            _Watch(
                lambda r: (
                    r.code_perplexity is not None
                    and r.num_codes is not None
                    and r.code_perplexity < min_codebook_use * r.num_codes
                ),
                lambda r: (
                    f"code perplexity is {r.code_perplexity:.1f} of {r.num_codes} codes: the codebooks have collapsed, "
                    "nearly all targets are the same and the loss means little. With the contrastive objective lower "
                    "optimization.lr, raise the diversity loss (criterion.loss_weights), or freeze the feature "
                    "extractor for a start (+model.feature_grad_mult=0). With bestrq, whose targets are fixed, look "
                    "for silent or identical clips, or take fewer entries (model.objective_options.codebook_size)"
                ),
            ),
            _Watch(
                lambda r: (
                    r.accuracy is not None
                    and r.loss_bits is not None
                    and r.accuracy >= DEGENERATE_ACCURACY
                    and r.loss_bits < DEGENERATE_LOSS_BITS
                ),
                lambda r: (
                    f"accuracy is {r.accuracy:.3f} at a loss of {r.loss_bits:.3f} bits: the run is degenerate, targets "
                    "are told apart without listening (latents that hold their position, or hardly any negatives that "
                    "count). Start again with a lower optimization.lr and longer warm-up, and look at code_perplexity"
                ),
            ),
            _Watch(
                lambda r: (
                    r.masked is not None
                    and r.masked_target is not None
                    and abs(r.masked - r.masked_target) > MASKED_TOLERANCE * r.masked_target
                ),
                lambda r: (
                    f"{r.masked:.0%} of the frames are masked, where model.mask_prob aims at {r.masked_target:.0%}: "
                    "all clips of a batch are masked as much as its shortest can be. Leave short clips out "
                    "(task.min_sample_size), or cut the corpus to like lengths"
                ),
            ),
            _Watch(
                lambda r: r.padding is not None and r.padding > MOST_PADDING,
                lambda r: (
                    f"{r.padding:.0%} of what is computed is padding: batches are of clips of unequal length. "
                    f"{UNEQUAL_ADVICE[may_crop]}"
                ),
            ),
            _Watch(
                lambda r: r.data_wait is not None and r.data_wait > MOST_DATA_WAIT,
                lambda r: (
                    f"{r.data_wait:.0%} of the time goes by waiting for data: raise dataset.num_workers, keep the "
                    "corpus on a local disk, or as flac rather than mp3, ogg or opus"
                ),
            ),
        ]

    def check(self, reading: Reading, num_updates: int) -> list[str]:
        """Look at the numbers of an update; log and return the warnings that are due."""
        due = []
        for watch in self._watches:
            watch.num_updates = watch.num_updates + 1 if watch.holds(reading) else 0
            if watch.num_updates == self.patience:
                due.append(f"update {num_updates}, for {self.patience} updates now: {watch.message(reading)}")
        for warning in due:
            logger.warning(warning)
        return due

    def counts(self) -> list[int]:
        """For how many updates in a row each condition has held, for ``restore`` in a run that is taken up."""
        return [watch.num_updates for watch in self._watches]

    def restore(self, counts: list[int]) -> None:
        """Go on from the counts of an earlier process; none from a checkpoint of version 0.1."""
        for watch, count in zip(self._watches, counts):
            watch.num_updates = count
