"""Seeds of the random numbers in an update: the same after a resume, and on any number of processes.

fairseq seeds torch's generator with ``common.seed`` + updates at the start of an update. The seed is the same on every
process, so all draw the same masks; and the second batch of an update continues where the first stopped. Here each
batch of an update has its own seed, by its place among the batches of all processes: two processes draw what one draws
with ``optimization.update_freq=[2]``. Masks, negatives, Gumbel noise, dropout and LayerDrop use that generator.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from fairseq.distributed import utils as distributed_utils


def batch_seeds(update_seed: int) -> Iterator[int]:
    """Seeds of 64 bits for this process's batches of one update. Batches are counted over all processes, in turns.

    Args:
        update_seed: ``common.seed`` + number of updates; a negative seed is allowed by torch, not by numpy.
    """
    for place in itertools.count(distributed_utils.get_global_rank(), distributed_utils.get_global_world_size()):
        yield int(np.random.SeedSequence((update_seed % 2**63, place)).generate_state(1, np.uint64)[0])
