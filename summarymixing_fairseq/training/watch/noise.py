"""Seeds of the random numbers in an update: the same after a resume, and on any number of processes.

fairseq seeds torch's generator with ``common.seed`` + updates at the start of an update. The seed is the same on every
process, so all draw the same masks; and the second batch of an update continues where the first stopped. Here each
batch of an update has its own seed, by its place among the batches of all processes: two processes draw what one draws
with ``optimization.update_freq=[2]``. Masks, negatives, Gumbel noise, dropout and LayerDrop use that generator.
"""

from __future__ import annotations

import numpy as np
from fairseq.distributed import utils as distributed_utils


def mixed_seed(*numbers: int) -> int:
    """A seed of 64 bits out of whole numbers, 0 or more: another one wherever one of the numbers differs."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])


class UpdateNoise:
    """Seeds for the batches of one update on this process.

    Args:
        update_seed: ``common.seed`` + number of updates.
    """

    def __init__(self, update_seed: int):
        self._update_seed = update_seed % 2**63  # a negative seed is allowed by torch, not here
        self._num_batches = 0

    def next_seed(self) -> int:
        """Seed of the next batch. Batches are counted over all processes, which take turns."""
        rank, num_processes = distributed_utils.get_global_rank(), distributed_utils.get_global_world_size()
        place = self._num_batches * num_processes + rank
        self._num_batches += 1
        return mixed_seed(self._update_seed, place)
