"""A finished run that is started again trains nothing and saves nothing."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import fairseq_cli.train
import pytest
from pipeline import TINY_MODEL, records, train
from small_tasks import write_split


def test_weights_stay_as_they_are(tmp_path):
    for split in ("train", "valid"):
        write_split(tmp_path, split, [16_000] * 3)
    run = tmp_path / "run"
    train("pretraining", tmp_path, run, 2, *TINY_MODEL)
    before = {path.name: path.stat() for path in run.glob("*.pt")}
    log = train("pretraining", tmp_path, run, 2, *TINY_MODEL)
    assert "nothing is trained: the checkpoint has 2 updates already, and optimization.max_update=2;" in log
    assert not records(log, "train_inner")
    assert {path.name: path.stat().st_mtime_ns for path in run.glob("*.pt")} == {
        name: status.st_mtime_ns for name, status in before.items()
    }
    log = train("pretraining", tmp_path, run, 3, *TINY_MODEL)
    assert [record["num_updates"] for record in records(log, "train_inner")] == ["3"]


@pytest.mark.parametrize(
    ("max_update", "stop_time_hours", "patience", "num_updates", "seconds", "said"),
    [
        (12, 0, 0, 15, 0, "15 updates already, and optimization.max_update=12"),
        (0, 2, 0, 15, 7_201, "2.00 hours already, and optimization.stop_time_hours=2"),
        (0, 0, 3, 15, 0, "3 validations without progress already, and checkpoint.patience=3"),
        (12, 2, 4, 11, 7_199, None),
        (0, 0, 0, 15, 7_201, None),
        (12, 1e-9, 0, 0, 10, None),  # a first start has used up no time
    ],
)
def test_every_limit(monkeypatch, caplog, max_update, stop_time_hours, patience, num_updates, seconds, said):
    from summarymixing_fairseq.training.patches import trainer as patches

    monkeypatch.setattr(patches, "_train", lambda *args: ([1.0], False))
    optimization = SimpleNamespace(
        max_update=max_update, stop_time_hours=stop_time_hours, max_epoch=0, stop_min_lr=-1.0
    )
    monkeypatch.setattr(fairseq_cli.train.should_stop_early, "num_runs", 3, raising=False)
    trainer = SimpleNamespace(get_num_updates=lambda: num_updates, cumulative_training_time=lambda: seconds)
    with caplog.at_level(logging.INFO):
        epoch_itr = SimpleNamespace(next_epoch_idx=2)
        checkpoint, common = SimpleNamespace(patience=patience), SimpleNamespace(amp=False)
        cfg = SimpleNamespace(optimization=optimization, checkpoint=checkpoint, common=common)
        ended = fairseq_cli.train.train(cfg, trainer, None, epoch_itr)
    assert ended == (([1.0], False) if said is None else ([None], True))
    assert said is None or said in caplog.text
