"""Settings that undo one another are named when the configuration is built."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf
from small_tasks import task_on, write_split

from summarymixing_fairseq.models.checks import validate
from summarymixing_fairseq.system.errors import InputError

NEVER_TRAINED = (
    "model.freeze_finetune_updates=10000 of optimization.max_update=12: the pre-trained model is never trained"
)
NEVER_AT_PEAK = "lr_scheduler.{}=30 of optimization.max_update=12: the learning rate never reaches optimization.lr"


@pytest.fixture
def folder(tmp_path):
    write_split(tmp_path, "train", [16_000, 3_000], ["A B |"] * 2)
    return tmp_path


@pytest.mark.parametrize(
    ("model", "lr_scheduler", "max_update", "said"),
    [
        ({"freeze_finetune_updates": 10_000}, {}, 12, NEVER_TRAINED),
        ({}, {"warmup_updates": 30}, 12, NEVER_AT_PEAK.format("warmup_updates")),
        ({}, {"warmup_steps": 30}, 12, NEVER_AT_PEAK.format("warmup_steps")),
        ({}, {"total_num_update": 5}, 12, "lr_scheduler.total_num_update=5 of optimization.max_update=12: "),
        ({"freeze_finetune_updates": 11}, {"warmup_updates": 11, "total_num_update": 12}, 12, None),
        ({"freeze_finetune_updates": 10_000}, {"warmup_updates": 30}, 0, None),
        ({}, {"warmup_steps": 30, "phase_ratio": [0.1, 0.4, 0.5]}, 12, None),
    ],
)
def test_one_line_at_the_start(model, lr_scheduler, max_update, said, folder, caplog):
    groups = {"model": model, "lr_scheduler": lr_scheduler, "optimization": {"max_update": max_update}}
    task_on(folder, groups=groups)
    lines = [record.message for record in caplog.records]
    assert lines == [] if said is None else len(lines) == 1 and said in lines[0]


def test_channel_masks_wider_than_the_model(tiny_config):
    validate(tiny_config(mask_channel_prob=0.0, mask_channel_length=64))
    validate(tiny_config(mask_channel_prob=0.1, mask_channel_length=8))
    with pytest.raises(ValueError, match=r"model\.mask_channel_length=64: spans this long can zero all 32 channels"):
        validate(tiny_config(mask_channel_prob=0.1, mask_channel_length=64))
    with pytest.raises(ValueError, match=r"model\.mask_channel_prob=1\.0: masks every channel"):
        validate(tiny_config(mask_channel_prob=1.0, mask_channel_length=1))


def pretraining(folder, tiny_config, **fields):
    cfg = OmegaConf.merge(OmegaConf.structured(tiny_config(**fields)), {"_name": "wav2vec2_summarymixing"})
    task = task_on(folder, "speech_pretraining")
    task.build_model(cfg)
    return task


def test_pretraining_without_masks(folder, tiny_config):
    with pytest.raises(InputError, match=r"model\.mask_prob=0: pre-training needs masked frames"):
        pretraining(folder, tiny_config, mask_prob=0.0)


def test_clips_too_short_for_the_masks(folder, tiny_config):
    message = r"1 of 2 clips of .* a masked span \(model\.mask_length\) takes, 1_train\.wav first: .*size=5200"
    with pytest.raises(InputError, match=message):
        pretraining(folder, tiny_config).load_dataset("train")
    pretraining(folder, tiny_config, mask_length=2).load_dataset("train")
