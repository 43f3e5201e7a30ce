"""What is due after an update is done once."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.patches import stopping


@pytest.mark.parametrize(("ends_epoch", "validations"), [(False, 2), (True, 3)])
def test_an_update_that_was_left_out_is_not_validated(monkeypatch, ends_epoch, validations):
    """fairseq would validate and save once more, and count the same loss as no progress."""
    done = []
    monkeypatch.setattr(stopping, "_validate_and_save", lambda *args: (done.append(1), ([0.5], True))[1])
    trainer = SimpleNamespace(number=1)
    trainer.get_num_updates = lambda: trainer.number
    assert stopping.validate_and_save(None, trainer, SimpleNamespace(), None, ["valid"], False) == ([0.5], True)
    left_out = stopping.validate_and_save(None, trainer, SimpleNamespace(), None, ["valid"], ends_epoch)
    assert left_out == (([0.5], True) if ends_epoch else ([None], False))
    trainer.number = 2
    assert stopping.validate_and_save(None, trainer, SimpleNamespace(), None, ["valid"], False) == ([0.5], True)
    assert len(done) == validations


def checkpoint_fields(**others):
    usual = {f"reset_{what}": False for what in ("optimizer", "lr_scheduler", "meters", "dataloader")}
    usual |= {"no_save": False, "no_last_checkpoints": False}
    return SimpleNamespace(**{**usual, "restore_file": "checkpoint_last.pt", "save_dir": "run", **others})


def test_the_printed_command_takes_up_what_was_saved(monkeypatch):
    """A run that began by `restore_file` or a reset would begin so again."""
    monkeypatch.setattr("sys.argv", ["/bin/fairseq-hydra-train"])
    assert stopping._going_on(checkpoint_fields()) == []
    again = stopping._going_on(checkpoint_fields(restore_file="start.pt", reset_optimizer=True))
    assert again == ["checkpoint.restore_file=checkpoint_last.pt", "checkpoint.reset_optimizer=false"]
    monkeypatch.setattr("sys.argv", ["/bin/fairseq-train"])  # which has no such arguments
    assert stopping._going_on(checkpoint_fields(restore_file="start.pt")) == []


def test_a_validation_that_is_no_number_counts_as_none(monkeypatch):
    """fairseq compares the next with it, and takes that for the best of all."""
    monkeypatch.setattr(stopping, "_validate", lambda *_: [math.nan, 2.0, None, math.inf])
    assert stopping.validate() == [None, 2.0, None, math.inf]


def test_a_metric_that_validation_lacks_ends_the_run_saved(monkeypatch):
    saved = []

    def validate(*args):
        raise KeyError("wre")

    monkeypatch.setattr(stopping, "_validate_and_save", validate)
    monkeypatch.setattr(stopping, "last_validation", {"wer": 3.0, "loss": 1.0})
    monkeypatch.setattr(stopping.checkpoint_utils, "save_checkpoint", lambda *args: saved.append(args[-1]))
    trainer = SimpleNamespace(get_num_updates=lambda: 1)
    cfg = SimpleNamespace(checkpoint=checkpoint_fields(best_checkpoint_metric="wre"))
    with pytest.raises(InputError, match="metric=wre: the validation has no such number, but loss, wer"):
        stopping.validate_and_save(cfg, trainer, SimpleNamespace(), None, ["valid"], False)
    assert saved == [None]
    cfg.checkpoint.best_checkpoint_metric = "wer"  # a KeyError of another name is not about it
    with pytest.raises(KeyError, match="wre"):
        stopping.validate_and_save(cfg, trainer, SimpleNamespace(), None, ["valid"], False)
