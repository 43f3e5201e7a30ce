"""What is due after an update is done once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

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
