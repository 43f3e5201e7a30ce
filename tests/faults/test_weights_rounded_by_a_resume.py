"""Under common.bf16 and fp16 a run goes on from its float32 weights, not from the rounded copies in the model."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq.optim.fp16_optimizer import FP16Optimizer
from trainers import NOISE, save, trainer_of
from training.conftest import differences

from summarymixing_fairseq.benchmarks.recipe import train_step


@pytest.mark.parametrize("optimizer", ["adam", "fused_adamw"])
def test_bf16(optimizer, tmp_path):
    overrides = ["common.amp=false", "common.bf16=true", f"optimizer._name={optimizer}"]
    if optimizer == "fused_adamw":
        overrides.append("optimizer.adam_betas=[0.9,0.98]")
    whole, taken_up = (trainer_of(tmp_path, *overrides) for _ in range(2))
    train_step(whole, NOISE)
    train_step(whole, NOISE)
    path = save(whole, tmp_path / "checkpoint_last.pt")
    taken_up.load_checkpoint(path)
    for trainer in (whole, taken_up):
        train_step(trainer, NOISE)
    first, second = (trainer.optimizer.state_dict() for trainer in (whole, taken_up))
    assert len(first["masters"]) == len(list(whole.model.parameters()))
    assert any((weight != weight.bfloat16()).any() for weight in first["masters"])
    assert differences(first, second) == []
    assert differences(whole.get_model().state_dict(), taken_up.get_model().state_dict()) == []


def flat(values: list[float], device: int) -> FP16Optimizer:
    """One whose float32 weights lie in one tensor a device, as under fp16 on GPUs."""
    optimizer = FP16Optimizer.__new__(FP16Optimizer)
    optimizer.fp32_params = {device: torch.nn.Parameter(torch.tensor(values))}
    optimizer.fp32_optimizer = SimpleNamespace(state_dict=lambda: {"state": {}}, load_state_dict=lambda *_: None)
    optimizer.scaler = None
    return optimizer


def test_fp16_keeps_them_in_one_tensor():
    """Process 0 saves what every process takes up, each on its own GPU."""
    first, second = flat([0.1, 0.2], device=0), flat([0.0, 0.0], device=1)
    state = first.state_dict()
    second.load_state_dict(state)
    assert torch.equal(second.fp32_params[1], first.fp32_params[0])
    # bf16 has one tensor a parameter, and a checkpoint of version 0.1 none: the rounded ones stay
    for masters in ([torch.ones(1), torch.ones(1)], []):
        second.load_state_dict({**state, "masters": masters})
        assert torch.equal(second.fp32_params[1], first.fp32_params[0])
