"""What several benchmarks take."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..system.errors import InputError

SAMPLE_RATE_HZ = 16_000
PRECISIONS = ("fp32", "amp", "fp16", "bf16")


def add_config(parser: argparse.ArgumentParser) -> None:
    """``--config``: the recipe."""
    parser.add_argument(
        "--config", type=Path, default=Path("examples/pretraining/base.yaml"), metavar="YAML", help="recipe"
    )


def check_config(path: Path) -> None:
    """Raises InputError if there is no such recipe."""
    if not path.is_file():
        raise InputError(f"{path}: no such recipe; run this in a checkout of the project, or name one by --config")
