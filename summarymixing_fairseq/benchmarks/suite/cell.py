"""One mixer, forward and backward, compared with attention and with the cell written literally."""

from __future__ import annotations

import argparse
from typing import Any

from ..benchmark import Benchmark, Step, add_sizes, mixer_names

REFERENCE = "summarymixing"
MASKED = ", padding mask"
NO_DROPOUT = "mhsa, no dropout"
# Contenders that are a registered mixer with other options: mixer, options.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    NO_DROPOUT: ("mhsa", {}),
    "summarymixing expdecay": ("summarymixing", {"mode": "expdecay"}),
}
SOFTMAX_ATTENTION = "softmax attention"
LITERAL_CELL = "literal cell"
# Share of the last clip's frames that are valid if there is a padding mask.
VALID_SHARE = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sizes; the defaults are those of the targets."""
    add_sizes(parser, "--lengths", int, [1000, 4000], "frames of a clip")
    parser.add_argument("--batch", type=int, default=2, help="clips")
    parser.add_argument("--dim", type=int, default=768, help="width D")
    parser.add_argument("--heads", type=int, default=8, help="of mixers that have heads")
    parser.add_argument("--dropout", type=float, default=0.1, help="inside the mixer; the recipes use the default")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def contenders() -> list[str]:
    """Every registered mixer with and without a padding mask, then variants and rivals."""
    mixers = [name + mask for name in mixer_names(REFERENCE) for mask in ("", MASKED)]
    return [*mixers, *VARIANTS, SOFTMAX_ATTENTION, LITERAL_CELL]


def build(contender: str, size: float, settings: dict[str, Any], device: str) -> Step:
    """Forward and backward pass of one mixer on (batch, size, dim)."""
    import torch

    from ...modules.mixing import MIXERS, OPTIONS
    from ...modules.mixing.heads import HeadOptions
    from ...system.options import read_options
    from ..rivals import LiteralCell, SoftmaxAttention

    name, options = VARIANTS.get(contender, (contender.removesuffix(MASKED), {}))
    mixer_class = {**MIXERS, SOFTMAX_ATTENTION: SoftmaxAttention, LITERAL_CELL: LiteralCell}[name]
    options_class = OPTIONS.get(name, HeadOptions)
    if hasattr(options_class, "num_heads"):
        options = {**options, "num_heads": settings["heads"]}
    read = read_options(options_class, options, name)
    read.check(settings["dim"])
    dtype, num_frames = getattr(torch, settings["dtype"]), int(size)
    dropout = 0.0 if contender == NO_DROPOUT else settings["dropout"]
    mixer = mixer_class(read, settings["dim"], dropout).to(device, dtype).train()
    x = torch.randn(settings["batch"], num_frames, settings["dim"], device=device, dtype=dtype, requires_grad=True)
    grad = torch.randn_like(x)
    padding_mask = None
    if contender.endswith(MASKED):
        padding_mask = torch.zeros(settings["batch"], num_frames, dtype=torch.bool, device=device)
        padding_mask[-1, int(VALID_SHARE * num_frames) :] = True

    def run() -> None:
        x.grad = None
        mixer.zero_grad(set_to_none=True)
        mixer(x, padding_mask).backward(grad)

    return Step(run)


BENCHMARK = Benchmark("one mixer alone, forward and backward", REFERENCE, "frames", add_arguments, contenders, build)
