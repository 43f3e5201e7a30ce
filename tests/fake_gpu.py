"""A GPU that is not there: tensors that say they lie on one, and a count of what would make the host wait for it.

The numbers are computed by the kernels of the CPU. What is as on a GPU: the branches that code takes by
``tensor.device``, that tensors of both sides do not mix, and the places where the host would wait.

Not seen: a move to the CPU inside one of torch's own Python functions. Out of reach: gradients that autograd fills up
with zeros, which it makes on the CPU.
"""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.autograd.graph import _engine_run_backward
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

GPU, CPU = torch.device("cuda:0"), torch.device("cpu")

# operations after which the host knows a number of the GPU's, or the size of a result
_READS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda}
# out of numbers that the host has
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, Tensor.new_tensor}
_TORCH = str(Path(torch.__file__).parent)


class OnGpu(Tensor):
    """Holds a tensor of the CPU and says that it lies on ``GPU``. Autograd, which wants a real device, sees the CPU."""

    inner: Tensor
    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    is_cpu = property(lambda self: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnGpu:
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=CPU
        )
        made.inner = inner
        return made

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGpu({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        of_host = [leaf for leaf in leaves if not isinstance(leaf, OnGpu)]
        name = func.overloadpacket.__name__
        if name in _INDEXING:
            masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
            if masks or of_host:
                FakeGpu.active.wait(name)
        elif name in _READS or (name == "copy_" and of_host):
            FakeGpu.active.wait(name)
        elif any(leaf.dim() for leaf in of_host):
            raise RuntimeError(f"{func}: tensors of both {GPU} and {CPU}")
        wrapped = {id(leaf.inner): leaf for leaf in leaves if isinstance(leaf, OnGpu)}
        wrapped.update((id(leaf), leaf) for leaf in of_host)  # what copy_ to the host returns
        out = func(*tree_map(_inner, args), **tree_map(_inner, kwargs or {}))
        return tree_map(lambda x: wrapped[id(x)] if id(x) in wrapped else _on_gpu(x), out)


def _inner(x: Any) -> Any:
    return x.inner if isinstance(x, OnGpu) else x


def _on_gpu(x: Any) -> Any:
    return OnGpu(x) if isinstance(x, Tensor) else x


class FakeGpu(TorchFunctionMode):
    """While it is active, tensors can be made on ``GPU`` and moved to it and back.

    Attributes:
        waits: how often the host waited, by source line and operation. A copy to the GPU makes it wait unless the
            memory is pinned and the copy ``non_blocking``; every copy to the host does.
    """

    active: FakeGpu

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        # what fairseq's trainer asks torch.cuda for
        self._cuda = mock.patch.multiple(
            torch.cuda,
            is_available=lambda: True,
            current_device=lambda: GPU,
            get_rng_state=torch.get_rng_state,
            default_generators=(torch.default_generator,),
            empty_cache=lambda: None,
        )

    def __enter__(self) -> FakeGpu:
        FakeGpu.active = self
        self._cuda.start()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._cuda.stop()

    def wait(self, operation: str) -> None:
        """Count one, for the innermost line that is neither torch's nor of this file."""
        frames = [f for f in traceback.extract_stack() if not f.filename.startswith(_TORCH) and f.filename != __file__]
        place = "/".join(Path(frames[-1].filename).parts[-2:])
        self.waits[f"{place}:{frames[-1].lineno} {operation}"] += 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _MOVES:
            return self._move(func, *args, **kwargs)
        if func is Tensor.backward:
            return self._backward(*args)
        if func is Tensor.pin_memory:
            pinned = args[0].clone()
            pinned.pinned = True
            return pinned
        if func in (Tensor.tolist, Tensor.numpy) and isinstance(args[0], OnGpu):
            self.wait(func.__name__)
            return func(args[0].inner.detach())
        to_gpu = "device" in kwargs and kwargs["device"] is not None and torch.device(kwargs["device"]).type == "cuda"
        if func in _FROM_NUMBERS and (to_gpu or isinstance(args[0], OnGpu)):
            self.wait(func.__name__)
        if to_gpu:
            return _on_gpu(func(*args, **{**kwargs, "device": CPU}))
        return func(*args, **kwargs)

    def _backward(self, loss: Tensor) -> None:
        """The engine's part of ``backward`` with this mode on, as what it recomputes makes and moves tensors too."""
        one = OnGpu(torch.ones((), dtype=loss.dtype))
        super().__enter__()
        try:
            _engine_run_backward((loss,), (one,), False, False, (), allow_unreachable=True, accumulate_grad=True)
        finally:
            super().__exit__(None, None, None)

    def _move(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        kwargs.pop("memory_format", None)
        non_blocking = kwargs.pop("non_blocking", False)
        device, dtype = kwargs.pop("device", None), kwargs.pop("dtype", None)
        for arg in args:
            if isinstance(arg, Tensor):
                device, dtype = arg.device, arg.dtype
            elif isinstance(arg, torch.dtype):
                dtype = arg
            elif isinstance(arg, (str, torch.device)):
                device = arg
        if func is not Tensor.to:
            device = CPU if func is Tensor.cpu else GPU
        y = x if dtype is None else torch.Tensor.type(x, dtype) if x.dtype != dtype else x
        to_gpu = x.is_cuda if device is None else torch.device(device).type == "cuda"
        if to_gpu == x.is_cuda:
            return y
        if not (to_gpu and non_blocking and getattr(x, "pinned", False)):
            self.wait(f"{func.__name__} {GPU.type if to_gpu else CPU.type}")
        return _ToGpu.apply(y) if to_gpu else _ToHost.apply(y)


class _ToGpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return OnGpu(x.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.inner


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return OnGpu(gradient)


def move_to_fake_gpu(module: nn.Module) -> None:
    """Replace all parameters and buffers of a module."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = nn.Parameter(OnGpu(parameter.data), parameter.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = OnGpu(buffer)
