"""Warnings about a run that does not learn, or that waits for data. Each is logged once and says what to do.

They are read off the numbers that every update logs, so TensorBoard and W&B show the same numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

# Accuracy above, and loss below, which the contrastive task has become trivial.
DEGENERATE_ACCURACY = 0.99
DEGENERATE_LOSS_BITS = 0.1
# Largest relative deviation from the share of masked frames that mask_prob aims at.
MASKED_TOLERANCE = 0.4
MOST_PADDING = 0.3
MOST_DATA_WAIT = 0.25

# By whether clips may be cropped.
UNEQUAL_ADVICE = {
    True: "Cut recordings to like lengths (summarymixing manifest folder --vad), or crop them by task.max_sample_size",
    False: "Leave the longest clips out (--max-seconds when making the manifest)",
}


class LastingSigns:
    """Warns once when a sign has lasted long enough, and again if it returns after it was gone.

    Args:
        patience: updates that a sign lasts before a warning; state: of ``state``, in a run that is taken up.
    """

    def __init__(self, patience: int, state: Any = None):
        state = state if isinstance(state, dict) else {}
        self.patience = patience
        self._since: dict[str, int] = dict(state.get("since", {}))  # update at which it was seen first
        self._warned: set[str] = set(state.get("warned", ()))

    def state(self) -> dict[str, Any]:
        """For a run that is taken up: plain containers."""
        return {"since": self._since, "warned": sorted(self._warned)}

    def check(self, signs: Mapping[str, str], num_updates: int) -> list[str]:
        """Look at the signs of an update, messages by name; log and return the warnings that are due."""
        # updates count anew where a run is taken up by checkpoint.reset_optimizer
        self._since = {sign: min(self._since.get(sign, num_updates), num_updates) for sign in signs}
        self._warned &= set(signs)
        due = [
            sign for sign in signs if sign not in self._warned and num_updates - self._since[sign] + 1 >= self.patience
        ]
        self._warned |= set(due)
        warnings = [f"update {num_updates}: {signs[sign]}" for sign in due]
        for warning in warnings:
            logger.warning(warning)
        return warnings


def signs_of_ill_health(found: Mapping[str, float], min_codebook_use: float, may_crop: bool = True) -> dict[str, str]:
    """What is wrong with the numbers of an update: a message by the name of the number.

    Args:
        found: as far as the run has them: ``loss_bits`` of the criterion per masked frame; ``accuracy`` of the
            contrastive task, 0 to 1; ``code_perplexity`` and ``num_codes`` of all codebooks together; ``masked`` and
            ``masked_target``, shares of valid frames; ``padding``, share of the samples computed; ``data_wait``, share
            of the time spent waiting for a batch.
        min_codebook_use: code perplexity over the number of codes below which codebooks count as collapsed.
        may_crop: whether clips may be cropped, so that a warning may advise it.
    """
    signs = {}
    perplexity, num_codes = found.get("code_perplexity"), found.get("num_codes")
    if perplexity is not None and num_codes is not None and perplexity < min_codebook_use * num_codes:
        signs["code_perplexity"] = (
            f"code perplexity is {perplexity:.1f} of {num_codes} codes: the codebooks have collapsed, nearly all "
            "targets are the same and the loss means little. With the contrastive objective lower optimization.lr, "
            "raise the diversity loss (criterion.loss_weights), or freeze the feature extractor for a start "
            "(+model.feature_grad_mult=0). With bestrq, whose targets are fixed, look for silent or identical clips, "
            "or take fewer entries (model.objective_options.codebook_size)"
        )
    accuracy, loss = found.get("accuracy", 0.0), found.get("loss_bits", 1.0)
    if accuracy >= DEGENERATE_ACCURACY and loss < DEGENERATE_LOSS_BITS:
        signs["accuracy"] = (
            f"accuracy is {accuracy:.3f} at a loss of {loss:.3f} bits: the run is degenerate, targets are told apart "
            "without listening (latents that hold their position, or hardly any negatives that count). Start again "
            "with a lower optimization.lr and longer warm-up, and look at code_perplexity"
        )
    masked, target = found.get("masked"), found.get("masked_target")
    if masked is not None and target is not None and abs(masked - target) > MASKED_TOLERANCE * target:
        signs["masked"] = (
            f"{masked:.0%} of the frames are masked, where model.mask_prob aims at {target:.0%}: all clips of a batch "
            "are masked as much as its shortest can be. Leave short clips out (task.min_sample_size), or cut the "
            "corpus to like lengths"
        )
    if (padding := found.get("padding", 0.0)) > MOST_PADDING:
        signs["padding"] = (
            f"{padding:.0%} of what is computed is padding: batches are of clips of unequal length. "
            f"{UNEQUAL_ADVICE[may_crop]}"
        )
    if (wait := found.get("data_wait", 0.0)) > MOST_DATA_WAIT:
        signs["data_wait"] = (
            f"{wait:.0%} of the time goes by waiting for data: raise dataset.num_workers, keep the corpus on a local "
            "disk, or as flac rather than mp3, ogg or opus"
        )
    return signs
