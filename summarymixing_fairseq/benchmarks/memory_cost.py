"""What an update takes of a GPU's memory, counted on tensors without data: no GPU is needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from ..models.wav2vec2_summarymixing import Wav2Vec2SummaryMixingModel
from ..system.errors import InputError
from ..training.watch.memory import PeakMemory
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
    with cuda_functions(getattr(torch, precision)), PeakMemory(model.parameters(), "meta") as memory:
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
    except InputError as error:  # in an update it is our trainer's, which says what to do
        if not isinstance(error.__cause__, torch.OutOfMemoryError):
            raise
        return None
    finally:
        del trainer
        torch.cuda.empty_cache()
