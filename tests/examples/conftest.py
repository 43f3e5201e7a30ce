"""Configurations as ``fairseq-hydra-train`` composes them, and scripts as modules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

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


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """``load_script(path)``: a script below ``examples`` as a module. Several have the same name."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(path.replace("/", "_"), ROOT / "examples" / path)
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look it up there
        spec.loader.exec_module(module)
        return module

    return load
