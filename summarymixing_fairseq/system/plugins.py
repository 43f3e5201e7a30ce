"""Plug-in folders: what a package holds is found by listing its files, so that adding one needs no edit elsewhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType


def modules_of(package: str, path: Iterable[str]) -> dict[str, ModuleType]:
    """Import the public modules of a package, packages inside it aside.

    Args:
        package: its name; path: its ``__path__``.

    Returns:
        Modules by their last name, sorted.
    """
    names = sorted(info.name for info in pkgutil.iter_modules(path) if not info.ispkg and not info.name.startswith("_"))
    return {name: importlib.import_module(f"{package}.{name}") for name in names}
