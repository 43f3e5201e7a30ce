"""Negatives, InfoNCE and their gradients, against fairseq's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "the contrastive objective, forward and backward"
REFERENCE = "ours"
SIZE_UNIT = "masked frames a clip"
KEEP_FREED_MEMORY = True
HOLD = True
AS_SHIPPED = "fairseq"
IN_OUR_PROCESS = "fairseq, freed memory kept"
# What fairseq's users have without this plugin: large blocks go back to the system when freed (see cpu_memory).
ENVIRONMENT = {AS_SHIPPED: {"SUMMARYMIXING_KEEP_FREED_MEMORY": "0"}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes; the defaults are 4 clips of 30 s."""
    parser.add_argument("--masked", type=int, nargs="+", default=[735], metavar="M", help="masked frames of a clip")
    parser.add_argument("--batch", type=int, default=4, help="clips")
    parser.add_argument("--dim", type=int, default=256, help="width of the projected vectors")
    parser.add_argument("--negatives", type=int, default=100)


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {name: getattr(args, name) for name in ("batch", "dim", "negatives")}


def sizes(args: argparse.Namespace) -> list[int]:
    """Masked frames."""
    return args.masked


def contenders(settings: dict[str, Any]) -> list[str]:
    """Ours; fairseq's as it runs without this plugin, and as it runs beside it."""
    return [REFERENCE, AS_SHIPPED, IN_OUR_PROCESS]


def build(contender: str, size: int, settings: dict[str, Any], device: torch.device) -> Step:
    """Draw negatives, logits, cross entropy summed, backward."""
    import torch
    import torch.nn.functional as F

    from ..modules import contrastive
    from .rivals import fairseq_objective

    functions = contrastive if contender == REFERENCE else fairseq_objective
    shape = (settings["batch"], size, settings["dim"])
    context = torch.randn(shape, device=device, requires_grad=True)
    targets = torch.randn(shape, device=device, requires_grad=True)
    # distinct targets, distinct codes: fairseq compares the vectors, ours the codes
    codes = torch.arange(size, device=device).expand(settings["batch"], size)
    zeros = torch.zeros(settings["batch"] * size, dtype=torch.long, device=device)

    def run() -> None:
        context.grad = targets.grad = None
        negatives = functions.sample_negatives(settings["batch"], size, settings["negatives"], device)
        logits = functions.info_nce_logits(context, targets, codes, negatives, 0.1)
        F.cross_entropy(logits.flatten(0, 1).float(), zeros, reduction="sum").backward()

    return Step(run)
