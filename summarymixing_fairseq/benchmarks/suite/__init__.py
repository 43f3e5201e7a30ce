"""The benchmarks, one a file. A new file with a ``BENCHMARK`` becomes a sub-command of ``summarymixing benchmark``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from ..benchmark import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    module.name: import_module(f"{__name__}.{module.name}").BENCHMARK for module in iter_modules(__path__)
}
