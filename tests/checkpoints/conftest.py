"""Checkpoints of a small pre-trained model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from encoder_checkpoints import OURS, configuration, save
from torch import nn


@pytest.fixture
def pretrained(tmp_path, tiny_model) -> tuple[nn.Module, Callable[..., Path]]:
    """A model, and ``save(config=..., **changes)``: path of its checkpoint, model's fields and entries changed."""
    model = tiny_model()

    def write(config=None, name="checkpoint.pt", **changes) -> Path:
        whole = configuration(model, OURS)
        fields = {**whole["model"], **(config or {})}
        whole["model"] = {key: value for key, value in fields.items() if value is not None}
        return save(tmp_path / name, whole, model.state_dict(), **changes)

    return model, write
