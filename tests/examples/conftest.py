"""Configurations as ``fairseq-hydra-train`` composes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fairseq.dataclass.initialize import hydra_init
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from pipeline import ROOT


@pytest.fixture
def composed() -> Iterator[Callable[..., DictConfig]]:
    """``composed(name, *overrides, folder=...)``: with fairseq's schema, and with hydra's own section."""

    def build(name: str, *overrides: str, folder: Path = ROOT / "examples" / "pretraining") -> DictConfig:
        hydra_init(name)
        try:
            with initialize_config_dir(str(folder), version_base="1.1"):
                return compose(name, overrides=["task.data=data", *overrides], return_hydra_config=True)
        finally:  # under its name the schema is taken for this configuration alone
            del ConfigStore.instance().repo[f"{name}.yaml"]

    return build
