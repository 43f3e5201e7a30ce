"""new_bob against rates worked out by hand, and per_group, which ends epochs in every group's schedule."""

from __future__ import annotations

import pytest
import torch
from fairseq.optim import build_optimizer
from fairseq.optim.composite import FairseqCompositeOptimizer
from fairseq.optim.lr_scheduler import build_lr_scheduler
from omegaconf import OmegaConf

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.optim import new_bob as new_bob_module

ADAM = {"_name": "adam", "adam_betas": "(0.9,0.999)", "adam_eps": 1e-8, "weight_decay": 0.0, "tpu": False}


@pytest.fixture(autouse=True)
def nothing_validated(monkeypatch):
    monkeypatch.setattr(new_bob_module, "last_validation", {})


def new_bob(lr: float = 1.0, **options):
    """A schedule and its optimizer of one parameter."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(OmegaConf.create({**ADAM, "lr": [lr]}), [parameter])
    return build_lr_scheduler(OmegaConf.create({"_name": "new_bob", "lr": [lr], **options}), optimizer), optimizer


def rates(schedule, metrics) -> list[float]:
    return [schedule.step(epoch, metric) for epoch, metric in enumerate(metrics, start=1)]


def test_rates_by_hand():
    """Progress is a relative fall of 0.0025 and more against the epoch before, not against the best."""
    schedule, _ = new_bob(1.0, lr_shrink=0.8, lr_threshold=0.0025)
    #             first  -50 %  -0.2 %  worse  better than the last, not than the best  -0.3 %
    metrics = [80.0, 40.0, 39.92, 60.0, 50.0, 49.85]
    assert rates(schedule, metrics) == pytest.approx([1.0, 1.0, 0.8, 0.64, 0.64, 0.64])


def test_threshold_itself_is_progress():
    schedule, _ = new_bob(1.0, lr_shrink=0.5, lr_threshold=0.25)
    assert rates(schedule, [4.0, 3.0, 2.5]) == pytest.approx([1.0, 1.0, 0.5])


def test_accuracy_counts_as_the_error_it_leaves():
    schedule, _ = new_bob(1.0, lr_shrink=0.5, lr_threshold=0.0025, is_accuracy=True)
    #                          up     down   up by 0.2 % of an error of 50
    assert rates(schedule, [40.0, 50.1, 50.0, 50.1]) == pytest.approx([1.0, 1.0, 0.5, 0.25])


def test_after_a_perfect_epoch_there_is_no_progress():
    schedule, _ = new_bob(1.0, lr_shrink=0.5)
    assert rates(schedule, [10.0, 0.0, 0.0, 5.0, 4.0]) == pytest.approx([1.0, 1.0, 0.5, 0.25, 0.25])


def test_an_epoch_without_validation_changes_nothing():
    schedule, _ = new_bob(1.0, lr_shrink=0.5)
    assert rates(schedule, [10.0, None, 10.0]) == pytest.approx([1.0, 1.0, 0.5])


def test_updates_leave_the_rate():
    schedule, optimizer = new_bob(0.3, lr_shrink=0.5)
    rates(schedule, [1.0, 1.0])
    assert [schedule.step_update(n) for n in (0, 1, 1000)] == pytest.approx([0.15] * 3)
    assert optimizer.get_lr() == pytest.approx(0.15)


def test_another_metric_than_the_best_checkpoints():
    """fairseq tells a schedule the word error rate; one that follows the loss looks it up."""
    schedule, optimizer = new_bob(1.0, lr_shrink=0.5, metric="loss")
    seen = []
    for epoch, (wer, loss) in enumerate([(50.0, 3.0), (50.0, 2.0), (40.0, 2.0), (30.0, 1.0)], start=1):
        new_bob_module.last_validation.update(wer=wer, loss=loss)
        seen.append(schedule.step(epoch, wer))
    assert seen == [1.0, 1.0, 0.5, 0.5]
    assert optimizer.get_lr() == 0.5


@pytest.mark.parametrize("lr_shrink", [0.0, 1.5, -0.1])
def test_bad_factor(lr_shrink):
    with pytest.raises(ValueError, match=rf"lr_scheduler\.lr_shrink={lr_shrink}: must be above 0 and at most 1"):
        new_bob(lr_shrink=lr_shrink)


@pytest.fixture
def composite(monkeypatch):
    """``composite(top)``: two groups under fairseq's schedule ``top``, as examples/mp3s have them."""
    # fairseq keeps them in the class, one run after the other
    monkeypatch.setattr(FairseqCompositeOptimizer, "optimizers", {})
    monkeypatch.setattr(FairseqCompositeOptimizer, "lr_schedulers", {})

    def build(top: str):
        parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(2)]
        parameters[0].param_group, parameters[1].param_group = "head", "layer_weights"
        schedules = {
            "head": ([0.1, 0.01], {"_name": "fixed"}),
            "layer_weights": ([1.0], {"_name": "new_bob", "lr_shrink": 0.5}),
        }
        groups = {
            name: {"optimizer": {**ADAM, "lr": lr}, "lr_scheduler": scheduler}
            for name, (lr, scheduler) in schedules.items()
        }
        optimizer = build_optimizer(OmegaConf.create({"_name": "composite", "groups": groups}), parameters)
        return build_lr_scheduler(OmegaConf.create({"_name": top}), optimizer), optimizer

    return build


def train(schedule, optimizer, metrics) -> list[tuple[float, float]]:
    """Rates of both groups in each epoch."""
    seen = []
    for epoch, metric in enumerate(metrics, start=1):
        schedule.step_begin_epoch(epoch)
        schedule.step_update(epoch)
        seen.append(tuple(group["lr"] for group in optimizer.param_groups))
        schedule.step(epoch, metric)
        schedule.step_update(epoch)
    return seen


def test_each_group_follows_its_own_schedule(composite):
    seen = train(*composite("per_group"), [5.0, 5.0, 5.0, 1.0])
    assert [rate for rate, _ in seen] == [0.1, 0.01, 0.01, 0.01]
    assert [rate for _, rate in seen] == [1.0, 1.0, 0.5, 0.25]


def test_pass_through_would_never_shrink(composite):
    """If fairseq's own delegates it some day, ours is no longer needed."""
    seen = train(*composite("pass_through"), [5.0, 5.0, 5.0, 1.0])
    assert [rate for _, rate in seen] == [1.0] * 4


def test_groups_are_taken_up_again(composite):
    schedule, optimizer = composite("per_group")
    train(schedule, optimizer, [5.0, 5.0])
    states = schedule.state_dict(), optimizer.state_dict()
    FairseqCompositeOptimizer.optimizers, FairseqCompositeOptimizer.lr_schedulers = {}, {}
    schedule, optimizer = composite("per_group")
    schedule.load_state_dict(states[0])
    optimizer.load_state_dict(states[1])
    schedule.step(2)
    schedule.step_update(2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.5])
    schedule.step(3, 5.0)
    assert optimizer.optimizers["layer_weights"].get_lr() == pytest.approx(0.25)


def test_a_metric_that_validation_lacks():
    new_bob_module.last_validation.update(wer=3.0)
    schedule, _ = new_bob(1.0, metric="wre")
    with pytest.raises(InputError, match="lr_scheduler.metric=wre: the validation has no such number, but wer"):
        schedule.step(1, 2.0)
