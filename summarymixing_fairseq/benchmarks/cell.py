"""One mixer, forward and backward, against attention and against the cell written out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .step import Step

if TYPE_CHECKING:
    import torch

HELP = "one mixer alone, forward and backward"
REFERENCE = "summarymixing"
SIZE_UNIT = "frames"
KEEP_FREED_MEMORY = True
HOLD = True
MASKED = ", padding mask"
# options of the registered mixers that are contenders of their own
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "mhsa, no dropout": ("mhsa", {"dropout": 0.0}),
    "summarymixing expdecay": ("summarymixing", {"mode": "expdecay"}),
}
# share of a batch's frames that are valid in its last clip, where there is a padding mask
VALID_SHARE = 0.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Sizes; the defaults are those of the targets."""
    parser.add_argument("--lengths", type=int, nargs="+", default=[1000, 4000], metavar="T", help="frames of a clip")
    parser.add_argument("--batch", type=int, default=2, help="clips")
    parser.add_argument("--dim", type=int, default=768, help="width D")
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.1, help="inside the mixer, as the recipes train it")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """What ``build`` needs but the size."""
    return {name: getattr(args, name) for name in ("batch", "dim", "heads", "dropout", "dtype")}


def sizes(args: argparse.Namespace) -> list[int]:
    """Frames."""
    return args.lengths


def contenders(settings: dict[str, Any]) -> list[str]:
    """Every registered mixer with and without a padding mask, then variants and rivals."""
    from ..modules.mixing import MIXERS
    from .rivals.mixers import SOFTMAX_ATTENTION

    names = [REFERENCE, *sorted(set(MIXERS) - {REFERENCE})]
    return [n + mask for n in names for mask in ("", MASKED)] + [*VARIANTS, SOFTMAX_ATTENTION, "literal cell"]


def build(contender: str, size: int, settings: dict[str, Any], device: torch.device) -> Step:
    """Forward and backward of one mixer on (batch, size, dim)."""
    import torch

    from ..modules.mixing import build_mixer
    from .rivals.mixers import SOFTMAX_ATTENTION, LiteralCell, SoftmaxAttention

    name = contender.removesuffix(MASKED)
    sizes = {"embed_dim": settings["dim"], "num_heads": settings["heads"], "dropout": settings["dropout"]}
    if name == SOFTMAX_ATTENTION:
        mixer = SoftmaxAttention(**sizes)
    elif name == "literal cell":
        mixer = LiteralCell(**sizes)
    else:
        mixer_name, options = VARIANTS.get(name, (name, {}))
        mixer = build_mixer(mixer_name, **{**sizes, **options})
    dtype = getattr(torch, settings["dtype"])
    mixer = mixer.to(device, dtype).train()
    x = torch.randn(settings["batch"], size, settings["dim"], device=device, dtype=dtype, requires_grad=True)
    grad = torch.randn_like(x)
    padding_mask = None
    if contender.endswith(MASKED):
        padding_mask = torch.zeros(settings["batch"], size, dtype=torch.bool, device=device)
        padding_mask[-1, int(VALID_SHARE * size) :] = True

    def run() -> None:
        x.grad = None
        mixer.zero_grad(set_to_none=True)
        mixer(x, padding_mask).backward(grad)

    return Step(run)
