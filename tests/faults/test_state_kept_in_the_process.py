"""What a run counts is in its checkpoint, and nothing of it passes to another run of the same process."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.optim import build_optimizer
from fairseq.optim.composite import FairseqCompositeOptimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from fairseq.trainer import Trainer
from fairseq_cli.train import should_stop_early
from omegaconf import OmegaConf
from training.conftest import load

from summarymixing_fairseq.training.optim import new_bob
from summarymixing_fairseq.training.patches import background, resuming
from summarymixing_fairseq.training.watch.health import LastingSigns

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
    new_bob.last_validation["wer"] = 5.0
    monkeypatch.setattr(FairseqCompositeOptimizer, "optimizers", {"encoder": object()})
    monkeypatch.setattr(FairseqCompositeOptimizer, "lr_schedulers", {"encoder": object()})
    monkeypatch.setattr(resuming, "_load_checkpoint", lambda *_, **__: (None, "iterator"))
    trainer = SimpleNamespace(cfg=SimpleNamespace(common=SimpleNamespace(amp=False)))
    trainer.checkpoint_suffix = ""
    cfg = SimpleNamespace(restore_file="checkpoint_last.pt")
    assert resuming.load_checkpoint(cfg, trainer) == (None, "iterator")
    assert not vars(checkpoint_utils.save_checkpoint) and not vars(should_stop_early)
    assert not new_bob.last_validation
    assert not FairseqCompositeOptimizer.optimizers and not FairseqCompositeOptimizer.lr_schedulers


class Run:
    """A trainer as far as schedules ask it, with fairseq's order: the checkpoint first, and then the step."""

    lr_step, lr_step_update, task = Trainer.lr_step, Trainer.lr_step_update, SimpleNamespace(cfg=None)

    def __init__(self, schedule: dict, monkeypatch):
        optimizer = build_optimizer(OmegaConf.create(ADAM), [torch.nn.Parameter(torch.zeros(2))])
        self.lr_scheduler, self.optimizer = (
            build_lr_scheduler(OmegaConf.create({"lr": [1.0], **schedule}), optimizer),
            optimizer,
        )
        self.saved = None
        monkeypatch.setattr(background, "_save_checkpoint", lambda _, trainer, *__: trainer.save())

    def get_num_updates(self) -> int:
        return 0

    def save(self) -> None:
        self.saved = self.lr_scheduler.state_dict(), self.optimizer.state_dict()

    def end_epoch(self, epoch: int, metric: float) -> float:
        new_bob.last_validation["loss"] = metric
        background.save_checkpoint(None, self, SimpleNamespace(epoch=epoch, end_of_epoch=lambda: True), metric)
        self.lr_step(epoch, metric)
        return self.optimizer.get_lr()


ADAM = {"_name": "fused_adamw", "lr": [1.0]}
SCHEDULES = {
    "reduce_lr_on_plateau": {"lr_shrink": 0.5, "lr_patience": 1, "lr_threshold": 1e-4, "warmup_updates": 0}
    | {"warmup_init_lr": -1, "maximize_best_checkpoint_metric": False},
    "new_bob": {"lr_shrink": 0.5, "metric": "loss"},
}
RATES = {
    "reduce_lr_on_plateau": [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25],
    "new_bob": [1, 0.5, 0.25, 0.25, 0.125, 0.0625, 0.03125],
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_checkpoint_knows_of_the_validation_that_ends_its_epoch(name, monkeypatch):
    """And a schedule hears of each once."""
    schedule, metrics = {"_name": name, **SCHEDULES[name]}, [5.0, 5.0, 5.0, 4.0, 5.0, 5.0, 5.0]
    whole = Run(schedule, monkeypatch)
    saved, rates = [], []
    for epoch, metric in enumerate(metrics, start=1):
        rates.append(whole.end_epoch(epoch, metric))
        saved.append(copy.deepcopy(whole.saved))
    assert rates == RATES[name]
    for done, (of_schedule, of_optimizer) in enumerate(saved, start=1):
        resumed = Run(schedule, monkeypatch)
        resumed.lr_scheduler.load_state_dict(of_schedule)
        resumed.optimizer.load_state_dict(of_optimizer)
        resumed.lr_step(done + 1)
        assert [resumed.end_epoch(epoch, metrics[epoch - 1]) for epoch in range(done + 1, 8)] == rates[done:]


def test_signs_of_ill_health_are_counted_across_a_resume():
    first, sign = LastingSigns(3), {"padding": "90% of what is computed is padding"}
    assert not first.check(sign, 1) and not first.check(sign, 2)
    assert len(LastingSigns(3, first.state()).check(sign, 3)) == 1
