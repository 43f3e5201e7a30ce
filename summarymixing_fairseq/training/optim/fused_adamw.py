"""``fused_adamw``: AdamW, or Adam with L2, with one kernel for all parameters, behind fairseq's optimizer interface."""

from dataclasses import dataclass, field
from typing import Any, List  # not list[float]: fairseq reads these annotations on every Python

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.optim import FairseqOptimizer, register_optimizer
from omegaconf import II

from ...system.errors import InputError


@dataclass
class FusedAdamWConfig(FairseqDataclass):
    """The fields of fairseq's ``adam``; the betas are a list, as no string of a configuration is evaluated here."""

    adam_betas: List[float] = field(default_factory=lambda: [0.9, 0.999], metadata={"help": "betas: [0.9, 0.98]"})
    adam_eps: float = field(default=1e-8, metadata={"help": "added to the root of the second moment"})
    weight_decay: float = field(default=0.0, metadata={"help": "weight decay"})
    decoupled: bool = field(
        default=True, metadata={"help": "AdamW's weight decay; false: Adam's, which is added to the gradient (L2)"}
    )
    lr: List[float] = II("optimization.lr")


class _Flat(torch.optim.Optimizer):
    """What fairseq's fp16 optimizer asks: may all parameters lie in one flat tensor? They may."""

    supports_flat_params = True

    def step(self, closure: Any = None) -> Any:
        """As torch's; fairscale's sharded checkpoints leave numbers of updates behind where torch wants tensors."""
        for parameter, state in self.state.items():
            if "step" in state and not torch.is_tensor(state["step"]):
                state["step"] = torch.tensor(float(state["step"]), device=parameter.device)
        return super().step(closure)


class _FlatAdamW(_Flat, torch.optim.AdamW):
    pass


class _FlatAdam(_Flat, torch.optim.Adam):
    def __setstate__(self, state: dict[str, Any]) -> None:
        """As torch's; a checkpoint of AdamW says that its decay is decoupled, this run that it is not."""
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = False


@register_optimizer("fused_adamw", dataclass=FusedAdamWConfig)
class FusedAdamW(FairseqOptimizer):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2) by ``torch.optim.AdamW(fused=True)``.

    With ``decoupled=false`` it is the same paper's Adam with L2 regularisation: the decay is part of the gradient, and
    of its moments.

    fairseq's own ``adam`` runs some ten kernels for every parameter tensor. It also leaves epsilon out of the bias
    correction, so that the first updates differ where gradients are as small as epsilon; this one is the formula's.

    Raises:
        InputError: for betas that are not two numbers in [0, 1).
    """

    def __init__(self, cfg: FusedAdamWConfig, params: Any):
        super().__init__(cfg)
        if len(cfg.adam_betas) != 2 or not all(0.0 <= beta < 1.0 for beta in cfg.adam_betas):
            raise InputError(
                f"optimizer.adam_betas={list(cfg.adam_betas)}: two numbers of at least 0 and below 1, as [0.9,0.98]"
            )
        optimizer = _FlatAdamW if cfg.decoupled else _FlatAdam
        self._optimizer = optimizer(params, fused=True, **self.optimizer_config)

    @property
    def optimizer_config(self) -> dict[str, Any]:
        """What torch's optimizer is built with; all but the rate overrides what a checkpoint has."""
        return {
            "lr": self.cfg.lr[0],
            "betas": tuple(self.cfg.adam_betas),
            "eps": self.cfg.adam_eps,
            "weight_decay": self.cfg.weight_decay,
        }
