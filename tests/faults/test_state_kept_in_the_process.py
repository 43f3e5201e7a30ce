"""What a run counts is in its checkpoint, and nothing of it passes to another run of the same process."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.optim import FairseqOptimizer, build_optimizer
from fairseq.optim.composite import CompositeLRScheduler, FairseqCompositeOptimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from fairseq_cli.train import should_stop_early
from omegaconf import OmegaConf
from training.conftest import load

from summarymixing_fairseq.training.optim import new_bob
from summarymixing_fairseq.training.patches import resuming
from summarymixing_fairseq.training.watch.health import HealthMonitor, Reading

# a metric that only grows: no validation after the first is better
IMPATIENT = (
    "checkpoint.patience=3",
    "checkpoint.best_checkpoint_metric=num_updates",
    "dataset.disable_validation=false",
    "dataset.validate_interval_updates=1",
)


def updates(folder) -> int:
    return load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


def test_patience_goes_on_after_a_resume(zygote, arguments, tmp_path):
    zygote.run(arguments(tmp_path / "whole", 9, *IMPATIENT), tmp_path / "log")
    zygote.run(arguments(tmp_path / "halves", 2, *IMPATIENT), tmp_path / "log")
    zygote.run(arguments(tmp_path / "halves", 9, *IMPATIENT), tmp_path / "log")
    assert updates(tmp_path / "whole") == updates(tmp_path / "halves") == 4
    assert load(tmp_path / "halves" / "checkpoint_last.pt")["extra_state"]["best"] == 1
    zygote.run(arguments(tmp_path / "halves", 9, *IMPATIENT), tmp_path / "again")
    assert "nothing is trained: the checkpoint has 3 validations without progress" in (tmp_path / "again").read_text()
    assert updates(tmp_path / "halves") == 4


@pytest.mark.long
def test_each_run_of_a_sweep_begins_anew(zygote, arguments, tmp_path):
    """hydra runs them one after the other in one process."""
    sweep = [
        "optimization.lr=[0.001],[0.002]",
        "checkpoint.save_dir=${hydra:sweep.dir}/run${hydra:job.num}",
        f"hydra.sweep.dir={tmp_path}",
    ]
    given = [argument for argument in arguments(tmp_path, 9, *IMPATIENT) if "save_dir" not in argument]
    zygote.run(["-m", *given, *sweep], tmp_path / "log")
    assert [updates(tmp_path / name) for name in ("run0", "run1")] == [4, 4]


def test_nothing_of_an_earlier_run_is_left(monkeypatch):
    checkpoint_utils.save_checkpoint.best = should_stop_early.best = 1.0
    monkeypatch.setattr(new_bob, "_last_validation", (7, {"wer": 5.0}))
    monkeypatch.setattr(FairseqCompositeOptimizer, "optimizers", {"encoder": object()})
    monkeypatch.setattr(FairseqCompositeOptimizer, "lr_schedulers", {"encoder": object()})
    monkeypatch.setattr(resuming, "_load_checkpoint", lambda *_, **__: (None, "iterator"))
    assert resuming.load_checkpoint(None, SimpleNamespace(lr_scheduler=None)) == (None, "iterator")
    assert not vars(checkpoint_utils.save_checkpoint) and not vars(should_stop_early)
    assert new_bob._last_validation == (0, {})
    assert not FairseqCompositeOptimizer.optimizers and not FairseqCompositeOptimizer.lr_schedulers


class OneGroup(FairseqOptimizer):
    """Like fairseq's composite optimizer, of one group that has a schedule."""

    def __init__(self, schedule):
        super().__init__(None)
        self._optimizer, self.lr_scheduler = schedule.optimizer.optimizer, CompositeLRScheduler({"encoder": schedule})


def per_group(patience: int):
    return new_bob.PerGroupSchedule(None, OneGroup(plateau(patience)))


def plateau(patience: int):
    """fairseq's ``reduce_lr_on_plateau`` that halves a rate of 1."""
    cfg = OmegaConf.create({"_name": "fused_adamw", "lr": [1.0]})
    optimizer = build_optimizer(cfg, [torch.nn.Parameter(torch.zeros(2))])
    schedule = {"_name": "reduce_lr_on_plateau", "lr": [1.0], "lr_shrink": 0.5, "lr_patience": patience}
    more = {"lr_threshold": 1e-4, "warmup_updates": 0, "warmup_init_lr": -1, "maximize_best_checkpoint_metric": False}
    return build_lr_scheduler(OmegaConf.create({**schedule, **more}), optimizer)


@pytest.mark.parametrize("build", [plateau, per_group])
@pytest.mark.parametrize("epochs", range(1, 7))
def test_epochs_without_progress_are_counted_across_a_resume(epochs, build, monkeypatch):
    """The checkpoint is saved before the schedule hears of the epoch's validation."""
    metrics = [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0]
    whole, first, second = build(1), build(1), build(1)
    rates = [rate_after(whole, epoch, metric) for epoch, metric in enumerate(metrics, start=1)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125]
    for epoch, metric in enumerate(metrics[: epochs - 1], start=1):
        first.step(epoch, metric)
    state = first.state_dict()

    def restore(cfg, trainer, **_):
        second.optimizer.set_lr(first.optimizer.get_lr())  # the optimizer's own state
        second.load_state_dict(state)
        second.step(epochs + 1)
        return {"train_iterator": {"epoch": epochs + 1, "iterations_in_epoch": 0}, "val_loss": metrics[0]}, None

    monkeypatch.setattr(resuming, "_load_checkpoint", restore)
    cfg = SimpleNamespace(reset_optimizer=False, reset_lr_scheduler=False, reset_dataloader=False)
    resuming.load_checkpoint(cfg, SimpleNamespace(lr_scheduler=second))
    assert second.optimizer.get_lr() == rates[epochs - 1]
    assert [rate_after(second, epoch, metrics[0]) for epoch in range(epochs + 1, 8)] == rates[epochs:]


def rate_after(schedule, epoch: int, metric: float) -> float:
    schedule.step(epoch, metric)
    return schedule.optimizer.get_lr()


def test_signs_of_ill_health_are_counted_across_a_resume():
    first, second = HealthMonitor(3, 0.02), HealthMonitor(3, 0.02)
    bad = Reading(padding=0.9)
    assert not first.check(bad, 1) and not first.check(bad, 2)
    second.restore(first.counts())
    assert len(second.check(bad, 3)) == 1
