"""One table at the start of a run: what will be trained, on what, for how long, and with what memory."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
from trainers import trainer_of
from training.test_memory import Batches

from summarymixing_fairseq.system.errors import InputError
from summarymixing_fairseq.training.watch.start_table import GIB, start_table

HOUR = 3600 * 16_000


@pytest.fixture
def trainer(tmp_path):
    trainer = trainer_of(tmp_path, "optimization.update_freq=[2]", "optimization.max_update=30")
    clips = SimpleNamespace(sizes=np.array([HOUR // 4000, HOUR // 8000] * 2000))  # 0.9 and 0.45 s
    trainer.task.datasets = {"valid": SimpleNamespace(sizes=np.array([HOUR])), "train": clips}
    return trainer


def lines(trainer, needed=None, free=None) -> dict[str, str]:
    title, *rows = start_table(trainer, Batches(13), needed, free).splitlines()
    assert title == "the run:"
    return {name.strip(): value for name, value in (row[2:].split("  ", 1) for row in rows)}


def test_the_table(trainer):
    model = trainer.get_model()
    found = {name: value.strip() for name, value in lines(trainer, GIB // 2, 3 * GIB).items()}
    assert found == {
        "parameters": f"{sum(weight.numel() for weight in model.parameters()):,}",
        "train": "0.75 h in 4,000 clips",
        "valid": "1 h in 1 clips",
        "an epoch": "7 updates",  # of 13 batches, two an update
        "an update": "40 s of audio at most",
        "the run": "30 updates, 4.3 epochs",
        "memory": "0.5 GiB an update, 3.0 GiB free",
        "warm-up": "100 updates: longer than the run",
        "frozen": "nothing",
    }


def test_what_is_frozen_and_fits(trainer):
    trainer.cfg.lr_scheduler = {"_name": "tri_stage", "phase_ratio": [0.1, 0.4, 0.5], "warmup_steps": 0}
    trainer.cfg.model = {"feature_grad_mult": 0.0, "freeze_finetune_updates": 10}
    next(trainer.get_model().parameters()).requires_grad = False
    found = lines(trainer)
    assert " of them trained" in found["parameters"] and "memory" not in found
    assert found["warm-up"].strip() == "3 updates"
    assert found["frozen"].strip() == (
        "the pre-trained model for 10 updates; the feature extractor, to the end (model.feature_grad_mult=0)"
    )
    trainer.cfg.model.freeze_finetune_updates = 30
    assert lines(trainer)["frozen"].strip() == ("the pre-trained model, to the end (model.freeze_finetune_updates=30)")


def test_a_clip_longer_than_a_mixer_takes_is_refused(tmp_path):
    options = ["model.mixer=linformer", "+model.mixer_options={rank: 4, max_frames: 300}"]
    trainer = trainer_of(tmp_path, *options, "model.encoder_attention_heads=4")
    trainer.task.datasets = {
        "train": SimpleNamespace(sizes=np.array([16_000])),
        "valid": SimpleNamespace(sizes=[16_000]),
    }
    trainer.task.begin_run(trainer, Batches(13))
    trainer.task._trainer, trainer.task.datasets["valid"].sizes = None, [16_000, 120_000]
    with pytest.raises(
        InputError, match="valid: a clip of 7.5 s has 3.* frames, and a mixer of this model takes 300: "
    ):
        trainer.task.begin_run(trainer, Batches(13))


def test_it_is_logged_once_before_the_first_update(trainer, caplog):
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            trainer.task.begin_run(trainer, Batches(13))
    (table,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("the run:")]
    assert "GiB an update" in table
