"""Cheap operations done again in the backward pass, not stored (Chen et al. 2016, arXiv 1604.06174).

Autograd stores a tensor by a hook. While ``recomputing`` lasts, ours stores how to make the tensor again, if it is a
result of ``made_again``. Matrix products are never computed again, only the inputs that they store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

_recomputing: ContextVar[bool] = ContextVar("recomputing", default=False)
_NO_RECIPE = (None, None, None)


def recompute(function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """``function(*inputs)``, storing only the inputs for the backward pass, which runs the whole function again.

    It does so with the same random numbers. Outputs and gradients are bit for bit those of ``function(*inputs)``.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return function(*inputs)  # the compiler decides itself what to recompute
    return checkpoint(function, *inputs, use_reentrant=False)


@contextmanager
def recomputing(on: bool) -> Iterator[None]:
    """Store nothing that ``made_again`` and ``dropout`` give; outputs and gradients stay bit for bit the same.

    Args:
        on: False: without effect. A compiler ignores it, as it decides itself what to recompute.
    """
    if not on or torch.compiler.is_compiling():
        yield
        return
    token = _recomputing.set(True)
    try:
        with saved_tensors_hooks(_pack, _unpack):
            yield
    finally:
        _recomputing.reset(token)


def made_again(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)``; if ``recomputing``, the backward pass calls it again where the result would be stored.

    What the function itself needs for its gradient is stored: right for norms, activations and copies, which need
    their inputs. Inputs may be such results themselves.

    Args:
        function: gives the same outside of autocast, and draws no random numbers.
    """
    y = function(*inputs)
    remember(y, function, *inputs)
    return y


def remember(y: Tensor, function: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Let ``y`` be made again as ``function(*inputs)``, as ``made_again`` does."""
    if not _is_on():
        return
    storage = y.untyped_storage()
    if all(x.untyped_storage() is not storage for x in inputs):  # a recipe that holds its own result keeps it for ever
        _set_recipe(y, _Recipe(function, inputs))


def can_be_made_again(y: Tensor) -> bool:
    """Whether ``y`` is a result of ``made_again``, or a view of one, so that it is not stored."""
    return _is_on() and _pack(y) is not y


def forget(y: Tensor) -> None:
    """Store ``y`` from now on as any other tensor."""
    if not torch.compiler.is_compiling():
        y.untyped_storage().recipe = _NO_RECIPE  # type: ignore[attr-defined]


class _Recipe:
    """A function and its inputs, to make its result: once, however many operations store it."""

    def __init__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...] = ()):
        self._function, self._inputs = function, [_pack(x.detach()) for x in inputs]
        self._made: Tensor | None = None

    def made(self) -> Tensor:
        if self._made is None:
            with torch.no_grad():
                self._made = self._function(*map(_unpack, self._inputs))
            self._inputs = []
        return self._made

    def take(self, result: Tensor) -> None:
        """Store a result that another recipe has made beside its own."""
        self._made = result


def _is_on() -> bool:
    return not torch.compiler.is_compiling() and _recomputing.get() and torch.is_grad_enabled()


def _set_recipe(y: Tensor, recipe: _Recipe) -> None:
    # the storage is the one thing that a tensor, its views and what autograd stores of them have in common
    y.untyped_storage().recipe = (y.dtype, y._version, recipe)  # type: ignore[attr-defined]


def _pack(x: Tensor) -> Any:
    """Recipe and layout of a tensor that has a recipe and was not changed in place since; else the tensor."""
    dtype, version, recipe = getattr(x.untyped_storage(), "recipe", _NO_RECIPE)
    if (dtype, version) != (x.dtype, x._version):
        return x
    return recipe, x.size(), x.stride(), x.storage_offset()


def _unpack(stored: Any) -> Tensor:
    if isinstance(stored, Tensor):
        return stored
    recipe, *layout = stored
    return recipe.made().as_strided(*layout)


def dropout(x: Tensor, module: nn.Dropout) -> Tensor:
    """``module(x)``; if ``recomputing``, nothing is stored on a GPU, and on a CPU one byte an element.

    To draw random numbers again would take a CPU longer than all other recomputation.
    """
    p = module.p
    if not module.training or p in (0, 1) or not _is_on():
        return module(x)
    if x.device.type == "cpu":
        kept = torch.empty_like(x, dtype=torch.bool).bernoulli_(1 - p)  # the random numbers of torch's dropout
        return made_again(torch.mul, x, made_again(partial(_scale_of, p=p, dtype=x.dtype), kept))
    return _DrawnAgain.apply(x, p) if x.is_cuda or x.is_meta else module(x)


def _scale_of(kept: Tensor, p: float, dtype: torch.dtype) -> Tensor:
    """The factors of torch's dropout on a CPU: 1 / (1 - p) where an element is kept, 0 where not."""
    return kept.to(dtype).div_(1 - p)


class _DrawnAgain(torch.autograd.Function):
    """torch's dropout on a GPU, of which neither the result nor the mask is stored."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        state = _generator(x.device).get_state()
        ctx.scale = 1 / (1 - p)
        y, mask = torch.native_dropout(x, p, True)
        anything = partial(torch.empty_strided, x.size(), x.stride(), dtype=x.dtype, device=x.device)
        of_mask = _Recipe(lambda: _draw(anything(), p, state)[1])

        def again(x: Tensor) -> Tensor:
            y, mask = _draw(x, p, state)
            of_mask.take(mask)
            return y

        _set_recipe(mask, of_mask)
        _set_recipe(y, _Recipe(again, (x,)))
        ctx.save_for_backward(mask)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(gradient, mask, ctx.scale), None


def _generator(device: torch.device) -> torch.Generator:
    return torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator


def _draw(x: Tensor, p: float, state: Tensor) -> tuple[Tensor, Tensor]:
    """Result and mask of torch's dropout at a state of the random numbers, which themselves do not move on.

    By the generator of the device alone: ``torch.random.fork_rng`` keeps the CPU's 5 kB too, 84 times a batch of base.
    """
    generator = _generator(x.device)
    now = generator.get_state()
    generator.set_state(state)
    try:
        return torch.native_dropout(x, p, True)
    finally:
        generator.set_state(now)
