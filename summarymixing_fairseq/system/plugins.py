"""Finding plug-ins: the modules that lie in a folder of the package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType


def modules_of(package: str, path: Iterable[str]) -> dict[str, ModuleType]:
    """Import the public modules of a package; sub-packages and names that begin with `_` are left out.

    Args:
        package: its dotted name. path: its folders (`__name__` and `__path__` in its `__init__`).

    Returns:
        Modules by their names within the package, sorted by name.
    """
    found = (info.name for info in pkgutil.iter_modules(path) if not info.ispkg and not info.name.startswith("_"))
    return {name: importlib.import_module(f"{package}.{name}") for name in sorted(found)}
