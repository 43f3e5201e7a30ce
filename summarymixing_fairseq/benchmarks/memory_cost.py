"""What an update takes of a GPU's memory, counted on tensors without data: no GPU is needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..training.wav2vec_criterion import LazyWav2vecCriterion
from .layer_cost import cuda_functions, run_backward
from .recipe import build_trainer, noise_batch, train_step

# AdamW keeps two moments of each weight.
MOMENTS = 2


@dataclass(frozen=True)
class MemoryCost:
    """Bytes at the moment of an update that takes the most.

    Attributes:
        weights: float32; optimizer: the two moments of AdamW.
        activations: all else: what the backward pass reads, gradients, and what an operator needs in passing.
    """

    weights: int
    optimizer: int
    activations: int

    @property
    def peak(self) -> int:
        """All of them."""
        return self.weights + self.optimizer + self.activations


class _Peak(TorchDispatchMode):
    """Knows the largest number of bytes in memory at once: of what operators read and made, weights left out."""

    def __init__(self, weights: Iterable[Tensor]):
        super().__init__()
        self.peak_bytes = 0
        self._weights = {weight.untyped_storage()._cdata for weight in weights}
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        for x in tree_leaves((args, kwargs, out)):
            if isinstance(x, Tensor) and x.is_meta and x.untyped_storage()._cdata not in self._weights:
                storage = x.untyped_storage()
                self._alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._alive = {key: kept for key, kept in self._alive.items() if not kept[0].expired()}
        self.peak_bytes = max(self.peak_bytes, sum(size for _, size in self._alive.values()))
        return out


def memory_cost(cfg: DictConfig, clips: int, num_samples: int, precision: str) -> MemoryCost:
    """Count one update without LayerDrop.

    Args:
        cfg: a recipe of the contrastive objective; clips, num_samples: of the batch, without padding.
        precision: of autocast, one of ``layer_cost.PRECISIONS``.
    """
    cfg.model.encoder_layerdrop = 0.0
    with torch.device("meta"):
        model = Wav2Vec2SummaryMixingModel(cfg.model).to("meta")  # fairseq's quantizer asks for a CPU
    batch = noise_batch(clips, num_samples)
    source = torch.empty(clips, num_samples, device="meta")
    batch["net_input"] = {"source": source, "num_samples": batch["num_samples"]}
    criterion = LazyWav2vecCriterion(None, infonce=True, loss_weights=list(cfg.criterion.loss_weights))
    with cuda_functions(getattr(torch, precision)), _Peak(model.parameters()) as memory:
        loss, _, _ = criterion(model, batch)
        run_backward(loss)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return MemoryCost(weights, MOMENTS * weights, memory.peak_bytes)


def measured_cost(cfg: DictConfig, clips: int, num_samples: int, precision: str) -> MemoryCost | None:
    """The same of a GPU, as its allocator counts it in the second update; None where its memory is not enough."""
    cfg.model.encoder_layerdrop = 0.0
    cfg.common.amp, cfg.task.amp_dtype = True, precision
    cfg.distributed_training.distributed_world_size = 1
    trainer = None
    try:
        trainer = build_trainer(cfg)
        trainer.cuda_env = None  # knowing it, the trainer resets the peak after each update
        batch = noise_batch(clips, num_samples)
        train_step(trainer, batch)
        torch.cuda.reset_peak_memory_stats()
        train_step(trainer, batch)
        peak = torch.cuda.max_memory_allocated()
        weights = sum(parameter.numel() * parameter.element_size() for parameter in trainer.get_model().parameters())
        return MemoryCost(weights, MOMENTS * weights, peak - (1 + MOMENTS) * weights)
    except torch.OutOfMemoryError:
        return None
    finally:
        del trainer
        torch.cuda.empty_cache()
