"""The dtype of matrix products: float32, or half precision by autocast with weights and losses in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import InputError

# "auto": half precision on a GPU, in the better of its two dtypes, and float32 on a CPU
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def product_dtype(precision: str, device: str) -> torch.dtype:
    """The dtype that one of ``PRECISIONS`` stands for on a device, "cuda" or "cpu".

    "auto" is bfloat16 on GPUs that compute in it (Ampere and later) and float16 on older ones: bfloat16 has float32's
    range, and so needs no scale of the loss.

    Raises:
        InputError: for a precision that is none of these.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is unknown: choose one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    if device != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def autocast(precision: str, device: str) -> torch.autocast:
    """A context in which products are computed in ``product_dtype``."""
    dtype = product_dtype(precision, device)
    if dtype is torch.float32:
        return torch.autocast(device, enabled=False)
    return torch.autocast(device, dtype)


def allow_tf32(allowed: bool) -> None:
    """Whether a GPU may compute float32 products and convolutions in TF32: 10 bits of mantissa, as float16.

    torch allows it for convolutions unless it is told otherwise.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def exact_float32() -> Iterator[None]:
    """A context in which float32 products keep all 23 bits on a GPU, where TF32 is allowed too."""
    allowed = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
