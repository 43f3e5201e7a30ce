"""Memory that an update takes, counted before the first one: on a CPU too much of it ends a run without a word."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from fairseq.data.data_utils import numpy_seed
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Beside each float32 weight: its gradient, and the two moments of Adam.
BYTES_BESIDE_A_WEIGHT = 12


class PeakMemory(TorchDispatchMode):
    """Knows the largest number of bytes in memory at once: of what operators read and made, weights left out.

    Args:
        weights: of the model; device: type of the tensors that count, as "cpu" or "meta".
    """

    def __init__(self, weights: Iterable[Tensor], device: str):
        super().__init__()
        self.peak_bytes = 0
        self._device = device
        self._weights = {weight.untyped_storage()._cdata for weight in weights}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs, out)):
            if isinstance(x, Tensor) and x.device.type == self._device:
                storage = x.untyped_storage()
                if storage._cdata not in self._weights:
                    self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {key: kept for key, kept in self._alive.items() if not kept[0].expired()}
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self._alive.values()))
        return out


def bytes_of_update(model: nn.Module, max_tokens: int, num_samples: int) -> int:
    """About what an update takes beyond the weights: gradients, moments of Adam, and the most that the forward and
    backward pass of a batch have at once.

    That is counted for one clip of noise, and grows with the length of a batch. The process takes more, for the gaps in
    its heap: up to 1.4 times as much, and twice with recomputation (small models). The model stays as it is, with what
    it learns from batches in passing (running statistics, projections), and so does the state of torch's and numpy's
    random numbers.

    Args:
        model: in training, on a CPU; max_tokens: samples of the largest batch; num_samples: of the clip.
    """
    model = copy.deepcopy(model)
    tensors = [*model.parameters(), *model.buffers()]
    trained = [parameter for parameter in tensors if parameter.requires_grad]
    for parameter in trained:  # its gradient is counted by itself: it does not grow with the batch
        parameter.register_post_accumulate_grad_hook(lambda weight: setattr(weight, "grad", None))
    with torch.random.fork_rng(devices=[]), numpy_seed(1), PeakMemory(tensors, "cpu") as memory:
        outputs = tree_leaves(model(source=torch.randn(1, num_samples), padding_mask=None))
        torch.autograd.backward([x.sum() for x in outputs if isinstance(x, Tensor) and x.requires_grad])
    num_trained = sum(parameter.numel() for parameter in trained)
    return memory.peak_bytes * max_tokens // num_samples + BYTES_BESIDE_A_WEIGHT * num_trained
