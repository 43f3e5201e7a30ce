"""fairseq's communication between processes, for CPUs (gloo) too, and for resuming with several processes.

fairseq as shipped gathers logging outputs in CUDA tensors and gives GPU numbers to torch's DDP. It broadcasts a
checkpoint by ``torch.load``, which since torch 2.6 refuses fairseq's own classes, on GPUs too.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from fairseq import utils
from fairseq.distributed import utils as distributed_utils
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def all_gather_list(data: Any, group: Any = None, max_size: int = 16384) -> list[Any]:
    """As fairseq's: what each process gave, in the order of ranks, of any size. fairseq's limit is reached by what some
    88 batches an update log."""
    group = group or distributed_utils.get_global_group()
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, utils.move_to_cpu(data), group=group)
    return gathered


def broadcast_object(obj: Any, src_rank: int, group: Any, dist_device: torch.device) -> Any:
    """As fairseq's ``_broadcast_object_slow``: an object without tensors, from one process to all of a group.

    It is safe: a process of this run has read it from a checkpoint with ``weights_only=True``.
    """
    box = [obj]
    dist.broadcast_object_list(box, src=src_rank, group=group, device=dist_device)
    return box[0]


class CpuAwareDDP(DistributedDataParallel):
    """torch's DDP, which takes no device numbers for a module on CPUs."""

    def __init__(self, module: nn.Module, device_ids: Any = None, output_device: Any = None, **others: Any):
        on_cpu = next(module.parameters()).device.type == "cpu"
        if on_cpu:
            device_ids = output_device = None
        super().__init__(module, device_ids=device_ids, output_device=output_device, **others)
