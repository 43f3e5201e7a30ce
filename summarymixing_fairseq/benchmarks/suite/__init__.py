"""The benchmarks, one a file. A new file with a ``BENCHMARK`` becomes a sub-command of ``summarymixing benchmark``."""

from __future__ import annotations

from ...system.plugins import modules_of
from ..benchmark import Benchmark

BENCHMARKS: dict[str, Benchmark] = {name: module.BENCHMARK for name, module in modules_of(__name__, __path__).items()}
