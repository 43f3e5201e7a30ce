"""Sharded weights (fairscale's FSDP by ``ddp_backend=fully_sharded``) and recomputed activations: the same losses.

fairscale's needs CUDA streams; ``cpu_streams`` stands in for them, the sharding is its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from training.conftest import NOISY, load
from training.test_processes import ended, torchrun

pytest.importorskip("fairscale", reason="pip install fairscale")

WITH_STREAMS = Path(__file__).parent / "cpu_streams.py"


def losses(log: str) -> list[float]:
    return [float(loss) for loss in re.findall(r'"loss": "([0-9.]+)"', log)]


@pytest.mark.long
def test_sharding_and_recomputing_change_no_loss(arguments, tmp_path):
    """With LayerDrop, which sharded processes run through all the same, and dropout in the recomputed layers."""
    runs = {
        "plain": [],
        "layer": ["distributed_training.ddp_backend=fully_sharded", "+model.checkpoint_activations=true"],
        "cheap": ["distributed_training.ddp_backend=fully_sharded", "+model.recompute=cheap"],
    }
    for name, options in runs.items():
        given = arguments(tmp_path / name, 4, *NOISY, *options)
        process = torchrun(given, tmp_path / f"{name}.log", program=WITH_STREAMS)
        output = ended(process, tmp_path / f"{name}.log")
        assert process.returncode == 0, output[-3000:]
    plain, *sharded = (losses((tmp_path / f"{name}.log").read_text()) for name in runs)
    assert len(plain) >= 4 and sharded == [plain, plain]
    first, *others = (load(tmp_path / name / "checkpoint_last.pt")["model"] for name in runs)
    for other in others:
        assert first.keys() == other.keys()
        for name, weight in first.items():
            torch.testing.assert_close(other[name], weight, rtol=0, atol=1e-5, msg=name)
