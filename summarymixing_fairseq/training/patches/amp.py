"""``common.amp``: gradients unscaled once, a dtype by ``task.amp_dtype``, and the gradients' norm in few kernels."""

from __future__ import annotations

import logging
from typing import Any

import torch
from fairseq.optim import FairseqOptimizer
from fairseq.optim.amp_optimizer import AMPOptimizer
from torch import Tensor

from ...system.errors import InputError
from ...system.precision import allow_tf32, product_dtype

logger = logging.getLogger(__name__)

_clip_grad_norm = AMPOptimizer.clip_grad_norm


def init(self: AMPOptimizer, cfg: Any, params: Any, fp32_optimizer: FairseqOptimizer, **kwargs: Any) -> None:
    """fairseq's, but ``common.amp_init_scale`` and ``amp_scale_window`` are what they say.

    The scaler is off where products are not in float16: bfloat16 and float32 need none. A task without ``amp_dtype``
    has fairseq's float16, on GPUs alone.

    Raises:
        InputError: for float16 under ``fully_sharded``.
    """
    FairseqOptimizer.__init__(self, cfg.optimizer)
    self.fp32_optimizer = fp32_optimizer
    self.min_loss_scale = cfg.common.min_loss_scale
    device = "cuda" if torch.cuda.is_available() and not cfg.common.cpu else "cpu"
    dtype = product_dtype(str(getattr(cfg.task, "amp_dtype", "float16" if device == "cuda" else "float32")), device)
    scaled = dtype is torch.float16
    if scaled and cfg.distributed_training.ddp_backend == "fully_sharded":
        # each process looks for overflows in its own shard: their scales would part, and nobody would notice
        raise InputError("fully_sharded cannot scale losses: set +task.amp_dtype=bfloat16 or float32")
    if device == "cuda":
        allow_tf32(True)
    logger.info(
        "common.amp: products in %s, %s; the loss is %s",
        str(dtype).removeprefix("torch."),
        "float32 ones that remain in TF32" if device == "cuda" else "the rest in float32",
        "scaled" if scaled else "not scaled",
    )
    window = cfg.common.amp_scale_window
    self._grad_scaler = torch.amp.GradScaler(
        device,
        init_scale=float(cfg.common.amp_init_scale),
        enabled=scaled,
        **({} if window is None else {"growth_interval": window}),
    )


def step(self: AMPOptimizer) -> None:
    """fairseq's, with the optimizer whose gradients ``clip_grad_norm`` unscaled: for another object they would be
    unscaled again."""
    self.scaler.step(self.optimizer)
    self.scaler.update()


def clip_grad_norm(self: AMPOptimizer, max_norm: float, aggregate_norm_fn: Any = None) -> Tensor:
    """fairseq's where losses are scaled; where they are not there is no scale to unscale by, nor to lower."""
    if self.scaler.is_enabled():
        return _clip_grad_norm(self, max_norm, aggregate_norm_fn)
    return self.fp32_optimizer.clip_grad_norm(max_norm, aggregate_norm_fn)


def total_norm(grads: list[Tensor], chunk_size: int = 0) -> Tensor:
    """Norm of all gradients in float32, as by fairseq's use of apex: one kernel for many tensors, not one for each."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads, 2, torch.float32)))
