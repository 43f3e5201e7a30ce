"""The order of clips that lie in shards (tar archives): shards in random order, clips shuffled within a few of them.

Batches are of clips of some shards at a time, so that an epoch reads each shard once, and few at any moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .manifest import Manifest


def shard_numbers(manifest: Manifest) -> np.ndarray | None:
    """(rows,) int64, the number of each row's shard, in the order of the manifest; None unless all rows are in one."""
    if ".tar:" not in manifest.name(0):
        return None
    number_of: dict[str, int] = {}
    numbers = np.empty(len(manifest), np.int64)
    for row in range(len(manifest)):
        shard, _, position = manifest.name(row).partition(".tar:")
        if not position:
            return None
        numbers[row] = number_of.setdefault(shard, len(number_of))
    return numbers


@dataclass(frozen=True)
class ShardOrder:
    """The batches of an epoch, in their order.

    Attributes:
        shards: (clips,) the number of each clip's shard, from 0; buffer: shards whose clips are shuffled together.
        seed: with the epoch, the only thing that the order depends on.
    """

    shards: np.ndarray
    buffer: int
    seed: int

    def batches(
        self, indices: Sequence[int], epoch: int, batch_by_size: Callable[[np.ndarray], Sequence[Any]]
    ) -> list[Any]:
        """Batches of one buffer after the other, within a buffer in random order.

        Args:
            indices: of clips, in the order in which batches are filled; batch_by_size: makes batches of some of them.
        """
        clips = np.asarray(indices)
        chance = np.random.default_rng([self.seed % 2**64, epoch])
        place_of = chance.permutation(int(self.shards.max()) + 1)
        buffers = place_of[self.shards[clips]] // self.buffer
        by_buffer = np.argsort(buffers, kind="stable")
        borders = np.flatnonzero(np.diff(buffers[by_buffer])) + 1
        batches: list[Any] = []
        for part in np.split(clips[by_buffer], borders):
            made = list(batch_by_size(part))
            batches += [made[number] for number in chance.permutation(len(made))]
        return batches
