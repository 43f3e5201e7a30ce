"""Negatives, InfoNCE and their gradients, compared with fairseq's."""

from __future__ import annotations

import argparse
from typing import Any

from ..benchmark import Benchmark, Step, add_sizes

REFERENCE = "ours"
AS_SHIPPED = "fairseq"
WITH_FREED_MEMORY_KEPT = "fairseq, freed memory kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sizes; the defaults are 4 clips of 30 s."""
    add_sizes(parser, "--masked", int, [735], "masked frames of a clip")
    parser.add_argument("--batch", type=int, default=4, help="clips")
    parser.add_argument("--dim", type=int, default=256, help="width of the projected vectors")
    parser.add_argument("--negatives", type=int, default=100)


def contenders() -> list[str]:
    """Ours; fairseq's as it runs without this plugin, and as it runs beside it."""
    return [REFERENCE, AS_SHIPPED, WITH_FREED_MEMORY_KEPT]


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """Draw negatives, compute logits and the summed cross entropy, backward."""
    import torch
    import torch.nn.functional as F

    from ...modules import contrastive
    from .. import rivals

    functions: Any = contrastive if contender == REFERENCE else rivals
    B, M, num_negatives = settings["batch"], int(size), settings["negatives"]
    context = torch.randn(B, M, settings["dim"], device=device, requires_grad=True)
    targets = torch.randn(B, M, settings["dim"], device=device, requires_grad=True)
    # all targets and codes are distinct: fairseq compares the vectors, ours the codes
    codes = torch.arange(M, device=device).expand(B, M)
    zeros = torch.zeros(B * M, dtype=torch.long, device=device)

    def run() -> None:
        context.grad = targets.grad = None
        negatives = functions.sample_negatives(B, M, num_negatives, device)
        logits = functions.info_nce_logits(context, targets, codes, negatives, 0.1)
        F.cross_entropy(logits.flatten(0, 1).float(), zeros, reduction="sum").backward()

    return Step(run)


HELP = "the contrastive objective, forward and backward"
# without this plugin freed blocks go back to the system (see system.cpu_memory)
ENVIRONMENT = {AS_SHIPPED: {"SUMMARYMIXING_KEEP_FREED_MEMORY": "0"}}
BENCHMARK = Benchmark(
    HELP, REFERENCE, "masked frames a clip", add_arguments, contenders, build, environment=ENVIRONMENT
)
