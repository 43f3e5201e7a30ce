"""What one encoder layer costs on a GPU beside its matrix products, counted on tensors without data: no GPU is needed.

Tensors on torch's device "meta" have shapes, dtypes and strides alone. Our modules take them for a GPU's, and the modes
below do for them what CUDA's autocast does, and know which operators copy their operands first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, cast
from unittest import mock

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor
from torch._prims_common import suggest_memory_format
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import flop_registry

from ..models.encoder import build_encoder

# Clips and frames of the batch: 24 x 15 s, the 360 s that the recipes give a GPU, all of one length.
CLIPS, FRAMES = 24, 746
PRECISIONS = ("float32", "bfloat16", "float16")
# CUDA's lists of autocast (torch's docs, "Autocast Op Reference"), as far as an encoder layer may go.
IN_HALF = frozenset(
    ["linear", "matmul", "__matmul__", "mm", "bmm", "addmm", "addbmm", "baddbmm", "einsum", "conv1d", "conv2d"]
)
IN_FLOAT32 = frozenset(
    ["layer_norm", "group_norm", "rms_norm", "exp", "log", "log1p", "pow", "__pow__", "reciprocal", "rsqrt", "softplus"]
    + ["softmax", "log_softmax", "cumsum", "cumprod", "prod", "sum", "norm", "cosine_similarity", "logsumexp"]
)
# Operators whose traffic counts as that of a matrix product, by the beginning of their names.
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "_scaled_dot_product")
# An H100 SXM by its datasheet: bytes a second, and dense operations a second, in float32 those of TF32.
H100_BYTES = 3.35e12
H100_OPERATIONS = {"float32": 494e12, "bfloat16": 989e12, "float16": 989e12}
# Operators that launch no kernel, though they return no view.
NO_KERNEL = ("empty", "empty_like", "new_empty", "_unsafe_view", "promote_types")


@dataclass(frozen=True)
class LayerCost:
    """One layer; where there are two figures, they are of the forward and of the backward pass.

    Attributes:
        kernels: operators that launch kernels, and the copies that some make of an operand first. An operator counts
            once, however many kernels it has.
        bytes_per_value: read and written beside matrix products and attention, per frame and channel.
        kept_bytes_per_frame: in memory between the two passes, weights and their casts left out.
        h100_seconds: both passes of the batch at the rates of an H100's datasheet, which no kernel reaches: what is
            beside products by its bytes, and products by their operations.
    """

    kernels: tuple[int, int]
    bytes_per_value: tuple[float, float]
    kept_bytes_per_frame: float
    h100_seconds: tuple[float, float]


class CudaFunctions(TorchFunctionMode):
    """Casts as CUDA's autocast does, a weight once; dropout and attention by the operators that CUDA takes.

    Args:
        dtype: of autocast; float32: no autocast.
    """

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype, self.autocast = dtype, dtype != torch.float32
        self._weights: dict[int, Tensor] = {}  # casts of weights by the weight's id

    def _cast(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if dtype == self.dtype and value.is_leaf and value.requires_grad and value.dtype == torch.float32:
            if id(value) not in self._weights:
                self._weights[id(value)] = value.to(dtype)
            return self._weights[id(value)]
        return value.to(dtype)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(function, "__name__", "")
        if name == "scaled_dot_product_attention":
            return self._attention(*args, **kwargs)
        if name == "dropout":
            return self._dropout(*args, **kwargs)
        if self.autocast and name in IN_HALF | IN_FLOAT32 and kwargs.get("dtype") is None:
            dtype = self.dtype if name in IN_HALF else torch.float32
            args, kwargs = tree_map(lambda value: self._cast(value, dtype), (args, kwargs))
        return function(*args, **kwargs)

    def _attention(
        self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **options: Any
    ) -> Tensor:
        """Flash attention, or in float32 and with a mask the memory-efficient one."""
        if self.autocast:
            q, k, v = (self._cast(value, self.dtype) for value in (q, k, v))
        if attn_mask is None and q.dtype != torch.float32:
            return cast(Tensor, torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, **options)[0])
        if attn_mask is not None:
            attn_mask = torch.zeros_like(attn_mask, dtype=q.dtype).expand(*q.shape[:3], k.size(2))
        attention = torch.ops.aten._scaled_dot_product_efficient_attention
        return cast(Tensor, attention(q, k, v, attn_mask, True, dropout_p, **options)[0])

    @staticmethod
    def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        """On CUDA its mask has one byte an element."""
        return torch.native_dropout(x, p, training)[0] if training and 0 < p < 1 else F.dropout(x, p, training)


@contextmanager
def cuda_functions(dtype: torch.dtype) -> Iterator[None]:
    """``CudaFunctions``, also for who asks torch for autocast or switches it off."""
    mode = CudaFunctions(dtype)

    @contextmanager
    def autocast(device_type: str, dtype: torch.dtype | None = None, enabled: bool = True) -> Iterator[None]:
        before, mode.autocast = mode.autocast, enabled
        try:
            yield
        finally:
            mode.autocast = before

    asked: dict[str, Any] = {
        "autocast": autocast,
        "is_autocast_enabled": lambda _: mode.autocast,
        "get_autocast_dtype": lambda _: mode.dtype,
    }
    with mock.patch.multiple(torch, **asked), mode:
        yield


def _num_bytes(tensor: Tensor) -> int:
    """Memory that the elements of a tensor lie in: an expanded dimension counts once."""
    return tensor.element_size() * prod(size for size, stride in zip(tensor.shape, tensor.stride()) if stride)


def _is_channels_last(x: Tensor) -> bool:
    """As cuDNN asks it: by the strides, those of axes of size 1 as well."""
    return x.dim() == 4 and suggest_memory_format(x) == torch.channels_last


def _copied_beside(name: str, args: Any, out: Any) -> list[Tensor]:
    """What an operator of CUDA reads and writes once more in a kernel beside its own, to bring it into a layout, or
    to add a bias."""
    if name == "baddbmm":
        return [out]  # filled with the bias, to which the product is added
    operands = args[:2] if name.endswith("_backward") else args[:1]
    if name.startswith("native_layer_norm"):
        return [x for x in operands if not x.is_contiguous()]
    if not name.startswith("convolution"):
        return []
    channels_last = _is_channels_last(args[0])
    copied = [] if channels_last else [x for x in operands if not x.is_contiguous()]
    if name == "convolution" and args[2] is not None and (channels_last or args[0].dtype == torch.float16):
        copied.append(out)  # by cuDNN, and the bias afterwards; torch's own kernel adds it itself
    return copied


class Kernels(TorchDispatchMode):
    """Counts kernels and bytes, and knows which tensors are still in memory.

    Args:
        weights: parameters, which with their casts do not count as kept.
    """

    def __init__(self, weights: Iterable[Tensor]):
        super().__init__()
        self.kernels, self.bytes, self.operations = 0, 0, 0
        self._weights = {weight.untyped_storage()._cdata: weight for weight in weights}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        schema = function._schema
        name = schema.name.partition("::")[2]
        is_view = any(result.alias_info and not result.alias_info.is_write for result in schema.returns)
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if is_view or name in NO_KERNEL or not (made or schema.is_mutable):
            return out
        if name.startswith("convolution") and _is_channels_last(args[0]):
            # an operator on "meta" does not know that a GPU's result has the layout of its input
            out = tree_map(lambda x: _as_channels_last(x) if isinstance(x, Tensor) else x, out)
        copied = _copied_beside(name, args, out)
        self.kernels += 1 + len(copied)
        self.bytes += 2 * sum(map(_num_bytes, copied))
        operands = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if not name.startswith(PRODUCTS):
            self.bytes += sum(map(_num_bytes, operands + made))
        elif function._overloadpacket in flop_registry:
            self.operations += flop_registry[function._overloadpacket](*args, **(kwargs or {}), out_val=out)
        of_weights = bool(operands) and all(x.untyped_storage()._cdata in self._weights for x in operands)
        for x in made:
            storage = x.untyped_storage()
            if of_weights:
                self._weights[storage._cdata] = x
            else:
                self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return out

    def kept_bytes(self) -> int:
        """Of the tensors made so far that are still in memory, each storage once."""
        return sum(size for ref, size in self._made.values() if not ref.expired())


def _as_channels_last(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


def run_backward(y: Tensor) -> None:
    """``y.backward()``, which would leave the mode that recomputation needs."""
    engine = torch.autograd.Variable._execution_engine
    engine.run_backward((y,), (torch.empty_like(y),), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _encoder_cost(model: DictConfig, dtype: torch.dtype, num_layers: int) -> list[float]:
    """Kernels of both passes, bytes of both passes, bytes kept, and operations of products of an encoder."""
    cfg: Any = OmegaConf.merge(model, {"encoder_layers": num_layers, "encoder_layerdrop": 0.0})
    with torch.device("meta"):
        encoder = build_encoder(cfg)
        x = torch.empty(CLIPS, FRAMES, cfg.encoder_embed_dim, requires_grad=True)
    weights = list(encoder.parameters())
    with cuda_functions(dtype):
        with Kernels(weights) as forward:
            y, _ = encoder(x, keep_hidden_states=False)
        kept = forward.kept_bytes()
        with Kernels(weights) as backward:
            run_backward(y)
    operations = forward.operations + backward.operations
    return [forward.kernels, backward.kernels, forward.bytes, backward.bytes, kept, operations]


def layer_cost(cfg: DictConfig, precision: str) -> LayerCost:
    """Cost of each layer of an encoder: what a second layer adds to the first.

    Args:
        cfg: the ``model`` group of a recipe; precision: one of ``PRECISIONS``, of autocast.
    """
    dtype = getattr(torch, precision)
    one, two = (_encoder_cost(cfg, dtype, num_layers) for num_layers in (1, 2))
    forward, backward, read, read_backward, kept, operations = (b - a for a, b in zip(one, two))
    frames = CLIPS * FRAMES
    values = frames * cfg.encoder_embed_dim
    return LayerCost(
        kernels=(int(forward), int(backward)),
        bytes_per_value=(read / values, read_backward / values),
        kept_bytes_per_frame=kept / frames,
        h100_seconds=((read + read_backward) / H100_BYTES, operations / H100_OPERATIONS[precision]),
    )
