"""Progress of a training, from fairseq's log."""

from __future__ import annotations

from pathlib import Path

from summarymixing_fairseq.probing.mp3s.training_log import progress

EPOCH_1 = (
    '[2026-11-23 03:00:00,123][train_inner][INFO] - {"epoch": 1, "update": 0.5, "loss": "9.5", "num_updates": "10"}\n'
    '[2026-11-23 03:00:01,123][valid][INFO] - {"epoch": 1, "valid_loss": "8", "valid_wer": "61.5"}\n'
)
EPOCH_2 = '[2026-11-23 03:00:02][valid][INFO] - {"epoch": 2, "valid_wer": "63.5", "valid_best_wer": "61.5"}\n'


def test_progress(tmp_path: Path):
    path = tmp_path / "run.log"
    assert progress(path, 0, "wer") == "starting"
    path.write_text(EPOCH_2)  # of an earlier run
    start = len(EPOCH_2)
    assert progress(path, start, "wer") == "starting"
    text = EPOCH_2 + '{"not": "of training"}\n{"epoch" broken}\n' + EPOCH_1
    path.write_text(text + EPOCH_2[:60])  # a line that is still being written
    assert progress(path, start, "wer") == "epoch 1, loss 9.5, valid wer 61.5"
    path.write_text(text + EPOCH_2)
    assert progress(path, start, "wer") == "epoch 2, loss 9.5, valid wer 63.5, best 61.5"


def test_accuracy_where_the_metric_is_not_logged(tmp_path: Path):
    path = tmp_path / "run.log"
    path.write_text('x {"epoch": 3, "valid_accuracy": "50"}\n')
    assert progress(path, 0, "eer") == "epoch 3, valid accuracy 50"
