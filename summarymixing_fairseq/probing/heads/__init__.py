"""Heads on an encoder's features, one architecture a file, behind one interface (``ProbeHead``) and one registry.

A head is a module of (B, T, D), bool padding mask (B, T; True = padding) or None. A padded frame never changes a valid
one, whatever it holds. To add a head: a file here, and its class below.
"""

from __future__ import annotations

import inspect
from typing import Any

from .contextnet import ContextNetCtc
from .ecapa import EcapaTdnn
from .head import ProbeHead
from .linear import LinearCtc, MeanLinear
from .recurrent import BiLstmCtc, BiLstmMean
from .xvector import XVector

HEADS: dict[str, type[ProbeHead]] = {
    "bilstm_ctc": BiLstmCtc,
    "linear_ctc": LinearCtc,
    "contextnet_ctc": ContextNetCtc,
    "mean_linear": MeanLinear,
    "bilstm_mean": BiLstmMean,
    "xvector": XVector,
    "ecapa": EcapaTdnn,
}

__all__ = ["HEADS", "ProbeHead", "build_head"]


def build_head(name: str, input_dim: int, num_classes: int, **options: Any) -> ProbeHead:
    """Build the head called ``name``.

    Args:
        input_dim: D of the features; num_classes: symbols with the blank, classes or speakers.
        options: the head's keyword arguments.

    Raises:
        ValueError: for an unknown name, an option that the head lacks, or a size that it refuses.
    """
    if name not in HEADS:
        raise ValueError(f"head={name!r} is unknown: choose one of {', '.join(HEADS)}")
    parameters = inspect.signature(HEADS[name]).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ValueError(f"head {name} has no option {option!r}: it has {', '.join(known) or 'none'}")
    return HEADS[name](input_dim, num_classes, **options)
