"""Find the first module whose numbers are not finite, by running a forward or backward pass again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ...models.objectives import Objective
from ...system.finite import is_finite, tensors_in

_OTHER_PRECISIONS = {
    "fp16": "common.amp=true in place of common.fp16 (weights stay float32), or common.bf16=true where the GPU has it, "
    "which needs no scale",
    "amp": "+task.amp_dtype=bfloat16 where the GPU has it, or float32, which need no scale",
}


def loss_scale_advice(precision: str) -> str:
    """What to do once fairseq has halved the loss scale as often as it may, under "fp16" or "amp"."""
    return (
        f"gradients overflow float16 at any loss scale: set {_OTHER_PRECISIONS[precision]}; else lower "
        "optimization.lr, lengthen lr_scheduler.warmup_updates, or lower optimization.clip_norm. If one utterance is "
        "named above again and again, listen to it"
    )


class FirstNonFinite:
    """Names of the modules that were found, or None.

    Attributes:
        forward: the first module, in the order they finish, with an output that is not finite.
        backward: the first module, in the order of the backward pass, whose output has a gradient that is not.
    """

    forward: str | None = None
    backward: str | None = None


@contextmanager
def watched(model: nn.Module) -> Iterator[FirstNonFinite]:
    """Check every module's output, and the gradient of it, while the block runs the model.

    The model and its objective as a whole are left out: a negative with the positive's code has a logit of -inf by
    design. The modules inside them are checked.
    """
    found = FirstNonFinite()

    def look_at_gradient(name: str) -> Callable[[Tensor], None]:
        def look(gradient: Tensor) -> None:
            if found.backward is None and not is_finite(gradient):
                found.backward = name

        return look

    def look_at_output(name: str) -> Callable[..., None]:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            for tensor in tensors_in(output):
                if found.forward is None and not is_finite(tensor.detach()):
                    found.forward = name
                if tensor.requires_grad:
                    tensor.register_hook(look_at_gradient(name))

        return look

    modules = [(name, module) for name, module in model.named_modules() if name and not isinstance(module, Objective)]
    hooks = [module.register_forward_hook(look_at_output(name)) for name, module in modules]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def first_bad_parameter(model: nn.Module) -> str | None:
    """Name of the first parameter that is not finite."""
    return next((name for name, parameter in model.named_parameters() if not is_finite(parameter.detach())), None)
