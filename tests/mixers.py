"""Small mixers by name, for tests that hold for all of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from torch import nn

from summarymixing_fairseq.modules.mixing import OPTIONS, build_mixer


def small_mixer(name: str, embed_dim: int, heads: int = 8, dropout: float = 0.0, **options: Any) -> nn.Module:
    """A mixer with so many heads, if it has heads and ``options`` do not say otherwise."""
    if "num_heads" in {field.name for field in fields(OPTIONS[name])}:
        options = {"num_heads": heads, **options}
    return build_mixer(name, embed_dim=embed_dim, dropout=dropout, **options)
